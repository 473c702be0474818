"""The learned face mask: labels, things drawn in front, training."""
