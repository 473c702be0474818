"""The configuration of a small model whose encoders are as wide as the starter's."""

from __future__ import annotations

SMALL = {
    "image_size": 16,
    "crop_size": 32,
    "noise_predictor": {"type": "unet", "image_size": 16, "patch_size": 2, "base_channels": 16, "channel_multipliers": [1, 2],
                        "num_res_blocks": 1, "attention_resolutions": [4], "embedding_channels": 32, "condition_channels": 24},
    "identity_encoder": {"type": "compact_identity", "embedding_dim": 20},
    "motion_encoder": {"type": "compact_landmarks"},
    "face_parser": {"type": "landmark_hull"},
    "detector": {"type": "compact_detector"},
    "landmarks": {"type": "motion_encoder"},
    "identity_dim": 20,
    "motion_dim": 102,
    "face_dim": 24,
    "diffusion": {"train_steps": 1000, "beta_start": 1e-4, "beta_end": 2e-2},
    "attributes": [
        {"name": "Young", "space": "identity", "index": 0},
        {"name": "Male", "space": "identity", "index": 1},
        {"name": "Smiling", "space": "motion", "index": 0},
    ],
}  # fmt: skip
