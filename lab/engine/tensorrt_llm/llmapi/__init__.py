"""The arguments of an engine and the processes that the launcher starts."""
