"""The command line: `python -m dva_core edit|encode|decode|faces|people|text|direction|expression|sheet|preview|evaluate|...`.

Exit code 0; 2 with one sentence on stderr for a user's mistake; 130 when interrupted. Nothing partial is left behind.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from ..errors import DVAError
from ..version import __version__
from .parser import Parser, join_signed


def build_parser() -> Parser:
    from . import batch, bundles, demo, directions, edit, evaluate, faces, own, people, stills

    parser = Parser(prog="python -m dva_core", description="Edit the face in a video once, for all frames (diffusion video autoencoder).")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is being done")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (edit, faces, people, bundles, directions, own, stills, demo, evaluate, batch):
        module.add_commands(commands)
    commands.add_parser("train", help="train the networks (see `train --help`)", add_help=False)
    return parser


def run(argv: Sequence[str]) -> None:
    if argv[:1] == ["train"]:
        from .train import main as train

        train(list(argv[1:]))
        return
    args = build_parser().parse_args(join_signed(argv))
    logging.getLogger("dva_core").setLevel(logging.INFO if args.verbose else logging.WARNING)
    args.run(args)


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Context manager that turns SIGTERM and SIGHUP into KeyboardInterrupt, so that partial outputs are removed."""

    def interrupt(*_) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    endings = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
    endings = [ending for ending in endings if signal.getsignal(ending) is not signal.SIG_IGN]  # ignored under nohup
    before = {ending: signal.signal(ending, interrupt) for ending in endings}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)


class WarnOnce(logging.Filter):
    """Log filter that passes each warning once; an output is tried before the work, which would repeat its warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno < logging.WARNING or text not in self.texts:
            self.texts.add(text)
            return True
        return False


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    handler = logging.StreamHandler()
    handler.addFilter(WarnOnce())
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[handler])
    try:
        with signals_as_interrupt():
            run(sys.argv[1:] if argv is None else argv)
    except DVAError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; nothing half-finished is left.", file=sys.stderr)
        return 130
    return 0
