"""Edits of a decomposition: attributes, switching, text."""
