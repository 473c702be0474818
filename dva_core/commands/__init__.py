"""The sub-commands of `python -m dva_core`: each module adds parsers and the functions that they call."""
