"""Faces in frames: detection, tracking, alignment, paste-back."""
