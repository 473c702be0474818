"""Run by ComfyUI's own interpreter, in its folder: what bare.py and the files beside it check, in one process."""

from __future__ import annotations

import bare
import bare_nodes
import bare_videos
import cached

if __name__ == "__main__":
    bare.run([*bare.CHECKS, *bare_videos.CHECKS, *bare_nodes.CHECKS, *cached.CHECKS])
