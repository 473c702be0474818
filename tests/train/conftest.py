"""Fixtures of the training tests."""

from .runs import encoders

__all__ = ["encoders"]
