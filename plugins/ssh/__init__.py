"""Commands on other machines by the system's `ssh`, for the stand-ins."""
