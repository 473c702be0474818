"""The sub-commands of `python -m dva_core`: each module adds its parsers and what they run."""
