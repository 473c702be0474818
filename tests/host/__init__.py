"""Tests inside a running ComfyUI."""
