"""What a lab command tells its user when it cannot go on."""


class LabError(Exception):
    """One or two sentences: what was found, and what to do."""
