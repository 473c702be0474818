"""Training: distillation of the small encoders, the diffusion model, attribute directions."""
