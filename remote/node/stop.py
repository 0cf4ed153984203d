"""How a program for the nodes ends with a sentence for the user."""


class Stop(Exception):
    """Ends the program; its text goes to standard error, without a trace.

    `code`: what kind of failure it is, for whoever gives advice; "" where there is nothing special to do.
    """

    def __init__(self, text, code=""):
        super().__init__(text)
        self.code = code
