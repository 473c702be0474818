"""Streaming video reader and writer on PyAV."""
