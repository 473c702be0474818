"""Who owns the devices: bare torch, or ComfyUI's model management."""
