"""The version of the pack and the library: here, and nowhere else."""

__version__ = "0.1.0"
