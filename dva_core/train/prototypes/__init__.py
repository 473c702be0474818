"""The same face older, younger, more male, more female or smiling, by prototypes and donors."""

from dva_core.train.prototypes.change import KINDS, Pair, Prototypes, suitable

__all__ = ["KINDS", "Pair", "Prototypes", "suitable"]
