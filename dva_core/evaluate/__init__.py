"""The paper's experiments (Kim et al. 2023, sec. 4) as commands: `python -m dva_core evaluate reconstruction|consistency|switch|ablation`.

metrics         SSIM, MS-SSIM, PSNR, MSE, LPIPS in the crop and in the mask; TL-ID, TG-ID; flicker
judges          identity networks that judge an edit
reconstruction  table 1: a video rebuilt from its decomposition
consistency     table 2: an edited video against its source
switching       fig. 7: identity, motion and background taken from another video
ablation        fig. 8: training with and without L_reg
table, plots    what is written: Markdown, CSV, JSON, PNG
"""
