"""Simulated DGX Sparks on one Linux machine: `python3 -m lab --help`."""
