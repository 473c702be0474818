"""Plans of small pretended videos, and whether their results are there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from batch_server import result_of

from dva_core.batch import make_manifest, make_plan

EDITS = {"a": {"Young": 0.8}, "b": {"Male": -0.3}, "c": {"Smiling": 1.0}}


def plan_of(folder: Path, videos: int | Sequence[str] = 4, edits=EDITS, **more):
    """A plan of so many videos, or of one for each word, which its content begins with; `more` goes into the manifest."""
    words = ["video"] * videos if isinstance(videos, int) else videos
    (folder / "videos").mkdir(exist_ok=True)
    for n, word in enumerate(words):
        (folder / "videos" / f"v{n}.mp4").write_bytes(f"{word} {n} ".encode() * 5000)
    return make_plan(make_manifest({"videos": ["videos"], "edits": edits, **more}), folder)


def check_results(plan, missing=()) -> None:
    """All are there but those named, whole and right, and nothing else is."""
    for job in plan.jobs:
        if job.name in missing:
            assert not job.result.exists()
        else:
            assert job.result.read_bytes() == result_of(job.video.read_bytes(), json.dumps(job.spec.attributes)), job.name
    left = {path.name for path in plan.results.iterdir()} - {f"{job.name}.mp4" for job in plan.jobs}
    assert left <= {".dva-batch"}


class Events(list):
    """Keeps the events of a run; `then` is called after each of them, while the run waits."""

    def __init__(self, then: Callable[[dict], None] | None = None) -> None:
        self.then = then

    def __call__(self, event: dict) -> None:
        self.append(event)
        if self.then is not None:
            self.then(event)

    def of(self, kind: str, **about) -> list[dict]:
        """Those of a kind, about a certain job or worker."""
        return [event for event in self if event["event"] == kind and about.items() <= event.items()]


def both_up(events: Events) -> bool:
    """Whether two servers have joined the run."""
    return len({event["worker"] for event in events.of("server", state="up")}) == 2
