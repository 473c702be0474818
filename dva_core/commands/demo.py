"""`demo`: makes a video, edits it and shows the result."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..diffusion.solvers import STEPS
from ..edit import AttributeSet, apply_attributes
from ..errors import DVAError
from ..files import check_place
from ..pipeline import decode, encode
from ..pipeline.report import describe_model
from ..pipeline.sheet import contact_sheet
from ..progress import Stopwatch
from ..video.images import save_picture
from .options import add_common, open_model
from .sheets import SheetMaker
from .terminal import Bars, answer, say

# those the model knows, in this order
EDITS = (
    {"Eyeglasses": 1.0}, {"Beard": 1.0}, {"Young": -1.0}, {"Heavy_Makeup": 1.0}, {"Sunglasses": 1.0},
    {"Male": 1.0}, {"Smiling": 1.0},
)  # fmt: skip
ATTRIBUTES = 5


def add_commands(commands) -> None:
    demo = commands.add_parser("demo", help="make a short video of a public-domain portrait, edit it, and show the result")
    demo.add_argument("-o", "--output", default="demo_output", metavar="FOLDER", help="where to (default demo_output)")
    demo.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"diffusion steps each way (default {STEPS})")
    add_common(demo)
    demo.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace) -> None:
    from .demo_video import FRAMES, make_video

    folder = Path(args.output)
    check_place(folder / "sheet.png") if folder.is_dir() else check_place(folder)
    model = open_model(args)
    names = AttributeSet.from_model(model).names
    edits = [edit for edit in EDITS if set(edit) <= set(names)][:ATTRIBUTES] or [{name: 1.0} for name in names[:1]]
    if not edits:
        raise DVAError("This model has no attributes to show; choose another with --model.")
    say(describe_model(model))
    folder.mkdir(exist_ok=True)
    clock = Stopwatch()
    with Bars() as bars, clock("demo"):
        source = make_video(folder / "portrait.mp4")
        decomposition = encode(source, model, steps=args.steps, batch_size=args.batch_size, progress=bars, clock=clock)
        rows, captions = {}, []
        for edit in edits:
            label = ", ".join(f"{name} {scale:+g}" for name, scale in edit.items())
            edited = apply_attributes(decomposition, model, edit)
            maker = SheetMaker(edited)
            out = folder / f"{'_'.join(edit).lower()}.mp4"
            decode(edited, model, out, batch_size=args.batch_size, progress=bars, clock=clock, watch=maker)
            rows |= {"original": maker.rows["original"], "rebuilt": maker.rows["rebuilt"], label: maker.rows["result"]}
            captions = maker.captions
        title = f"{decomposition.info.model_name}, {args.steps} steps: NASA's portrait of Eileen Collins, animated"
        save_picture(folder / "sheet.png", contact_sheet(rows, captions, title=title))
    files = sorted(str(path) for path in folder.iterdir())
    seconds = round(clock.total, 1)
    text = f"Wrote {', '.join(files)} in {seconds} s; look at {folder / 'sheet.png'}."
    phases = {phase: round(seconds, 2) for phase, seconds in clock.seconds.items()}
    answer({"files": files, "frames": FRAMES, "seconds": seconds, "phases": phases}, args.json, text)
