"""`python -m trtspark`, the same as `trtspark`."""

from trtspark.cli import main

if __name__ == "__main__":
    main()
