"""The figures of the paper, for comparison with ours: Kim et al. 2023, on VoxCeleb1 at 256 x 256, not on our data."""

from __future__ import annotations

SOURCE = "Rows marked 'paper' are those of Kim et al. 2023, on their data (20 test videos of VoxCeleb1, 256 px): no comparison."

# table 1: SSIM, MS-SSIM, LPIPS, MSE
RECONSTRUCTION = {
    "e4e (Latent Transformer)": (0.509, 0.761, 0.157, 0.037),
    "PTI (STIT)": (0.765, 0.939, 0.063, 0.007),
    "DVA, T = 20": (0.540, 0.905, 0.228, 0.016),
    "DVA, T = 100": (0.922, 0.989, 0.045, 0.002),
}

# table 2: TL-ID, TG-ID
CONSISTENCY = {
    "Latent Transformer": (0.989, 0.920),
    "STIT": (0.997, 0.961),
    "VideoEditGAN": (1.002, 0.983),
    "DVA": (0.995, 0.996),
}
