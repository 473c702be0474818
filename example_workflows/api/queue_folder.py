"""Edits every video of a folder in every way of a list, through running ComfyUIs; what is there already is left out.

    python queue_folder.py VIDEOS EDITS.json OUT [--server http://127.0.0.1:8188 ...] [--workflow edit_by_attribute.json]

EDITS.json: {"younger": {"Young": 0.8}, "smiling": {"Smiling": 0.6}}. Results are OUT/<video>_<edit>.mp4.
For more (several settings, people, spreadsheets, clusters) there is `python -m dva_core batch`, of which this is a short form.
Needs aiohttp, pydantic and tqdm, which ComfyUI brings.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

try:
    import dva_core
except ImportError:  # not installed: as it lies beside this file in the pack
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import dva_core
from dva_core.commands.batch_view import BatchBars, table


def main(args: argparse.Namespace) -> int:
    from dva_core.batch import make_manifest, make_plan, run_on_servers

    try:
        edits = json.loads(args.edits.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise dva_core.DVAError(f"The edits {args.edits} cannot be read ({type(error).__name__}); give a JSON file.") from error
    batch = {"videos": [str(args.videos.absolute())], "edits": edits, "workflow": str(args.workflow.absolute())}
    plan = make_plan(make_manifest(batch, args.edits), results=args.out)
    with BatchBars(len(plan.jobs), sum(job.result.exists() for job in plan.jobs)) as bars:
        summary = run_on_servers(plan, args.server or ["http://127.0.0.1:8188"], watch=bars)
    sys.stderr.write("\n".join(table(summary)) + "\n")
    return 1 if summary.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("edits", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--server", action="append", help="repeat for several; default http://127.0.0.1:8188")
    parser.add_argument("--workflow", type=Path, default=Path(__file__).with_name("edit_by_attribute.json"))
    arguments = parser.parse_args()
    try:
        sys.exit(main(arguments))
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on from here.")
    except dva_core.DVAError as error:
        sys.exit(str(error))
