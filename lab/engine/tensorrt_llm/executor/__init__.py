"""The engine behind the server: ranks, their messages, their start."""
