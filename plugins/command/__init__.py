"""Stand-in for the vendor's `command` plugin."""
