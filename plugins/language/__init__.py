"""Stand-in for the Python language host: runs Pulumi programs for the engine."""
