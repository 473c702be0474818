"""The version of the pack and the library."""

__version__ = "0.1.0"
