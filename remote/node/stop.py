"""How a program for the nodes ends with a sentence for the user."""


class Stop(Exception):
    """Ends the program; its text goes to standard error, without a trace."""
