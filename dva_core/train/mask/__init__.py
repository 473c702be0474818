"""The learned face mask: labels, drawn occluders, training."""
