"""Dynamic providers: thin adapters between Pulumi's operations and the machines.

Module and class names here are part of every stack's state: they never change.
"""
