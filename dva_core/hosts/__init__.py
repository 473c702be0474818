"""Who manages the devices: plain torch, or ComfyUI's model management."""
