"""Metrics and the paper's tables."""
