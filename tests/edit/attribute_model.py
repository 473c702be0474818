"""As much of a model as edits of attributes need."""

import torch

ENTRIES = [
    {"name": "Young", "space": "identity", "index": 1, "auc": 0.9, "range": [-1, 1]},
    {"name": "Male", "space": "identity", "index": 0, "auc": 0.9},
    {"name": "Smiling", "space": "motion", "index": 0},
    {"name": "Mouth_Open", "space": "motion", "index": 1},
]


class Model:
    """As much of a model as editing needs."""

    fingerprint = "f00d"

    def __init__(self, entries=ENTRIES, dim=16, motion_dim=6):
        g = torch.Generator().manual_seed(1)
        self.config = {"attributes": entries}
        self.tensors = {
            "attributes.identity.weight": torch.randn(2, dim, generator=g),
            "attributes.identity.mean": torch.randn(1, dim, generator=g) * 0.1,
            "attributes.identity.std": torch.rand(1, dim, generator=g) + 0.5,
            "attributes.motion.shift": torch.randn(2, motion_dim, generator=g) * 0.1,
            "fusion.weight": torch.zeros(1),
        }

    def state_dict(self):
        return self.tensors
