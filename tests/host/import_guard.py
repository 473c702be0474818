"""Whether what the pack imports of ComfyUI is there, in the newest host: PYTHONPATH=tests python -m host.import_guard

comfy-import-guard resolves names in a clone of its own; here that is made of the host's sources, so that nothing is fetched. Of older
hosts it would miss what the pack looks for before it uses it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .comfy_server import ROOT, comfy_version, find_hosts

NOT_SOURCES = (".git", ".venv", "venv", "models", "input", "output", "temp", "user", "custom_nodes", "__pycache__")
AUTHOR = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]


def check(comfy: Path) -> int:
    """The tool's exit code for one host."""
    with tempfile.TemporaryDirectory() as folder:
        clone, packs = Path(folder) / "ComfyUI", Path(folder) / "install" / "custom_nodes"
        for part in ("nodes", "dva_core"):
            shutil.copytree(ROOT / part, packs / "diffusion-video-autoencoder" / part)
        shutil.copy(ROOT / "__init__.py", packs / "diffusion-video-autoencoder")
        shutil.copytree(comfy, clone, ignore=shutil.ignore_patterns(*NOT_SOURCES))
        for command in (["init", "--quiet"], ["add", "--all"], [*AUTHOR, "commit", "--quiet", "--message", comfy_version(comfy)]):
            subprocess.run(["git", *command], cwd=clone, check=True)
        tool = [str(Path(sys.executable).with_name("comfy-import-guard")), "--offline", "--cache-dir", folder, "check"]
        return subprocess.run([*tool, "--comfy-dir", str(packs.parent), "--target", "HEAD", "--no-update", "--strict"]).returncode


def main() -> int:
    hosts = find_hosts()
    if not hosts:
        sys.stdout.write("NO COMFYUI WAS FOUND: set COMFYUI_DIRS to one or more checkouts of it.\n")
        return 1
    return check(max(hosts, key=lambda comfy: [int(part) for part in comfy_version(comfy).split(".") if part.isdecimal()]))


if __name__ == "__main__":
    sys.exit(main())
