"""The state of a batch, and its report: static HTML with each result before and after, times and failures."""

from __future__ import annotations

import hashlib
import html
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..errors import DVAError
from ..files import atomic_write
from .jobs import Job, Plan
from .journal import Journal, Record

DONE, FAILED, SENT, MISSING = "done", "failed", "on a server", "missing"
WIDTH, QUALITY = 240, 82  # of a thumbnail, pixels and JPEG
MOST_FRAMES = 120  # frames that are read at most for one


@dataclass(frozen=True)
class Standing:
    """The state of a job. `state`: "done", "failed", "on a server" or "missing"; `stale`: made with earlier settings."""

    job: Job
    state: str
    record: Record | None = None
    stale: bool = False


def standings(plan: Plan) -> Iterator[Standing]:
    """List the state of each job of a plan from its result and the journal."""
    journal = Journal.read(plan.state)
    queued = {job for job, _ in journal.prompts.values()}
    for job in plan.jobs:
        record = journal.records.get(job.name)
        if job.result.exists():
            stale = record is not None and record.state == "done" and record.fingerprint not in ("", plan.fingerprint(job))
            yield Standing(job, DONE, record if record is not None and record.state == "done" else None, stale)
        elif job.name in queued:
            yield Standing(job, SENT, record)
        elif record is not None and record.state == "failed":
            yield Standing(job, FAILED, record)
        else:
            yield Standing(job, MISSING)


def write_report(plan: Plan, folder: str | Path | None = None, pictures: bool = True) -> Path:
    """Write index.html and its thumbnails to `folder` (None: report/ in the results) and return the path of the page.

    Existing thumbnails newer than their video are kept. DVAError if the folder cannot be written to.
    """
    folder = plan.results / "report" if folder is None else Path(folder)
    place = folder / "index.html"
    try:
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        with atomic_write(place) as partial, open(partial, "w", encoding="utf-8") as page:
            for part in page_of(plan, folder, pictures):
                page.write(part)
    except OSError as error:
        raise DVAError(f"The report {folder} cannot be written ({error.strerror}); choose another folder.") from error
    return place


def page_of(plan: Plan, folder: Path, pictures: bool) -> Iterator[str]:
    """Yield the page in parts, so that memory does not grow with the number of jobs."""
    counts: dict[str, int] = {}
    seconds = 0.0
    for standing in standings(plan):
        counts[standing.state] = counts.get(standing.state, 0) + 1
        seconds += (standing.record.seconds or 0.0) if standing.record else 0.0
    title = f"{len(plan.jobs)} jobs: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    when = time.strftime("%Y-%m-%d %H:%M")
    yield f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
<p>{html.escape(str(plan.results))} &middot; {when} &middot; {seconds / 3600:.2f} hours of work in all</p>
<p><label><input type="checkbox" id="wrong"> only what is not done</label></p>
<div id="jobs">
"""
    video = None
    for standing in standings(plan):
        if standing.job.video != video:
            yield f"{'</section>' if video else ''}<section><h2>{html.escape(str(standing.job.video))}</h2>\n"
            video = standing.job.video
        yield card(standing, folder, pictures)
    yield f"</section></div><script>{SCRIPT}</script></html>\n"


def card(standing: Standing, folder: Path, pictures: bool) -> str:
    """HTML of one job."""
    job, record = standing.job, standing.record
    lines = [f"<h3>{html.escape(job.edit)} <b>{standing.state}</b></h3>"]
    if standing.state == DONE and pictures:
        try:
            before, after = (thumbnail(path, folder / "pictures") for path in (job.video, job.result))
            images = "".join(
                f'<img loading="lazy" alt="{what}" src="pictures/{quote(path.name)}">'
                for what, path in (("before", before), ("after", after))
            )
            lines.append(f'<a href="{address(job.result, folder)}">{images}</a>')
        except (DVAError, OSError) as error:
            lines.append(f"<p>{html.escape(str(error))}</p>")
    if record is not None and record.error:
        lines.append(f"<p>{html.escape(record.error)}</p>")
    facts = [f"{record.seconds:.1f} s" if record.seconds else "", record.where] if record is not None else []
    facts += ["made with other settings"] if standing.stale else []
    lines.append(f"<small>{html.escape(' · '.join(filter(None, facts)))}</small>")
    return f'<article class="{standing.state.replace(" ", "-")}">{"".join(lines)}</article>\n'


def address(path: Path, folder: Path) -> str:
    """URL of a file as seen from the page in `folder`, relative if possible."""
    try:
        return quote(Path(os.path.relpath(path, folder)).as_posix())
    except ValueError:  # another drive
        return path.as_uri()


def thumbnail(video: Path, folder: Path) -> Path:
    """Save a thumbnail of the middle of a video (an earlier frame if it is long) and return its path. DVAError if it has no frames."""
    from PIL import Image

    from ..video import open_video

    place = folder / f"{hashlib.sha256(str(video).encode()).hexdigest()[:16]}.jpg"
    if place.exists() and place.stat().st_mtime >= video.stat().st_mtime:
        return place
    with open_video(video) as reader:
        middle = min(MOST_FRAMES, (reader.info.frames or 2) // 2)
        image = None
        for number, frame in enumerate(reader):
            image = frame.rgb
            if number == middle:
                break
    if image is None:
        raise DVAError(f"{video} has no frames.")
    picture = Image.fromarray(image)
    picture.thumbnail((WIDTH, WIDTH))
    with atomic_write(place) as partial:
        picture.save(partial, "JPEG", quality=QUALITY)
    return place


STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; background: Canvas; color: CanvasText; color-scheme: light dark }
h1 { font-size: 1.4rem }
h2 { font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; margin: 1.5rem 0 .5rem }
h3 { font-size: .95rem; margin: 0 }
section { border-top: 1px solid #8884 }
article { display: inline-block; vertical-align: top; width: 500px; max-width: 100%; box-sizing: border-box;
  padding: .6rem; margin: 0 .6rem .6rem 0; border: 1px solid #8884; border-radius: 6px }
article b { font-weight: 500; float: right }
.done b { color: #2a7d46 }
.failed b, .failed p { color: #c62f2f }
.missing b, .on-a-server b { color: #9a6b00 }
img { width: 49%; margin: .4rem 1% 0 0; border-radius: 4px }
small { opacity: .7 }
.only .done { display: none }
"""
SCRIPT = "wrong.onchange = () => jobs.classList.toggle('only', wrong.checked)"
