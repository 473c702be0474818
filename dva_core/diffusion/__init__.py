"""Noise schedule, DDIM and its solvers."""
