"""How a batch stands, the page about it, and the commands: check, status, report, schema; what a journal survives."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from video_helpers import make_video

from dva_core.batch import Summary, make_manifest, make_plan, standings, write_report
from dva_core.batch.journal import DiskError, Journal, lock_folder
from dva_core.commands.main import main
from dva_core.errors import DVAError

ODD = "a<script>&b"


@pytest.fixture
def plan(tmp_path):
    """Five jobs: done with and without a record, failed, on a server, missing; a name that is no HTML."""
    (tmp_path / "clips").mkdir()
    make_video(tmp_path / "clips" / "one.mp4", 4)
    make_video(tmp_path / "clips" / "two & a half.mp4", 4)
    edits = {"young": {"Young": 0.8}, "old": {"Young": -0.8}, "glad": {"Smiling": 1}}
    batch = {"videos": ["clips"], "edits": edits}
    (tmp_path / "jobs.json").write_text(json.dumps(batch))
    plan = make_plan(make_manifest(batch), tmp_path)
    by_name = {job.name: job for job in plan.jobs}
    for name in ("one_young", "one_old"):
        plan.results.mkdir(exist_ok=True)
        make_video(by_name[name].result, 4)
    journal = Journal.read(plan.state)
    journal.note("done", "one_young", where="http://a", seconds=12.5, fingerprint=plan.fingerprint(by_name["one_young"]))
    journal.note("sent", "one_glad", where="http://a", prompt="p1", fingerprint="f")
    journal.note("failed", "two & a half_young", where="http://b", error=f"No face in {ODD}.")
    return plan


def test_how_the_jobs_stand(plan):
    standing_of = {standing.job.name: standing for standing in standings(plan)}
    assert {name: standing.state for name, standing in standing_of.items()} == {
        "one_young": "done",
        "one_old": "done",
        "one_glad": "on a server",
        "two & a half_young": "failed",
        "two & a half_old": "missing",
        "two & a half_glad": "missing",
    }
    assert standing_of["one_young"].record.seconds == 12.5 and standing_of["one_old"].record is None
    assert not any(standing.stale for standing in standing_of.values())
    (other,) = (standing for standing in standings(changed(plan)) if standing.job.name == "one_young")
    assert other.stale


def changed(plan):
    """The same batch with another strength."""
    edits = {**plan.manifest.edits, "young": {"Young": 0.3}}
    return make_plan(plan.manifest.model_copy(update={"edits": make_manifest({"videos": ["x"], "edits": edits}).edits}), plan.base)


class Page(HTMLParser):
    """Counts what a page shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.addresses, self.words, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page(plan):
    place = write_report(plan)
    page = Page(place.read_text(encoding="utf-8"))
    assert page.tags.count("article") == 6 and page.tags.count("img") == 4 and page.tags.count("script") == 1
    assert f"No face in {ODD}." in "".join(page.words) and "12.5 s · http://a" in "".join(page.words)
    for address in page.addresses:
        assert (place.parent / address.replace("%20", " ").replace("%26", "&")).is_file(), address
    with Image.open(next((place.parent / "pictures").iterdir())) as picture:
        assert max(picture.size) <= 240
    before = {path: path.stat().st_mtime_ns for path in (place.parent / "pictures").iterdir()}
    plan.jobs[1].result.write_bytes(b"no video any more")
    write_report(plan)  # one that cannot be read does not spoil the page
    assert all(path.stat().st_mtime_ns == when for path, when in before.items() if path.exists())
    assert Page(write_report(plan, pictures=False).read_text(encoding="utf-8")).tags.count("img") == 0


def test_commands(plan, tmp_path, capsys):
    jobs = str(tmp_path / "jobs.json")
    assert main(["batch", "check", jobs]) == 0
    assert "2 videos, 6 jobs, 2 done" in capsys.readouterr().out
    assert main(["batch", "check", jobs, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["videos"][0]["frames"] == 4 and len(answer["jobs"]) == 6 and answer["jobs"][0]["done"]
    assert main(["batch", "status", jobs]) == 0
    output = capsys.readouterr().out
    assert "6 jobs: 2 done, 1 failed, 2 missing, 1 on a server" in output and ODD in output
    assert main(["batch", "status", jobs, "--json"]) == 0
    assert {json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()} == {"done", "failed", "missing", "on a server"}
    assert main(["batch", "report", jobs, "--to", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "index.html").is_file() and str(tmp_path / "page") in capsys.readouterr().err
    assert main(["batch", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "No server was named"),
        (["--server", "localhost:8188"], "is no address"),
        (["--server", "http://a", "--header", "secret"], "no name and value"),
        (["--server", "http://a", "--timeout", "0"], "more than 0"),
        (["--server", "http://a", "--ray"], "either --server"),
        (["--ray", "--workers", "0"], "more than 0"),
        (["--server", "https://a", "--ca", "none.pem"], "no certificates"),
        (["--server", "http://127.0.0.1:9"], "does not answer"),
    ],
)
def test_what_a_run_refuses(plan, tmp_path, capsys, options, sentence):
    assert main(["batch", "run", str(tmp_path / "jobs.json"), *options]) == 2
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert sentence in message


@pytest.mark.parametrize(
    ("options", "address", "limits"),
    [
        (["--ray"], "local", {"workers": None, "gpus": None, "cpus": 1.0}),
        (["--ray", "ray://head:10001", "--workers", "3", "--gpus", "0.5"], "ray://head:10001", {"workers": 3, "gpus": 0.5, "cpus": 1.0}),
    ],
)
def test_ray_does_the_batch_where_it_is_asked_for(plan, tmp_path, monkeypatch, options, address, limits):
    calls = []

    def run(plan, address, *, watch, patience, redo, **limits):
        calls.append((len(plan.jobs), address, limits, patience, redo))
        return Summary(jobs=6, done=6)

    monkeypatch.setattr("dva_core.batch.run_on_ray", run)
    assert main(["batch", "run", str(tmp_path / "jobs.json"), *options, "--patience", "7", "--redo"]) == 0
    assert calls == [(6, address, limits, 7.0, True)]


def test_a_journal_is_read_whatever_was_cut_off(tmp_path):
    journal = Journal.read(tmp_path / "new")
    journal.note("sent", "a", where="s", prompt="1", fingerprint="f")
    journal.note("sent", "b", where="s", prompt="2")
    journal.note("done", "a", where="s", prompt="1", seconds=1.0)
    text = (tmp_path / "new" / "journal.jsonl").read_bytes()
    for length in range(len(text)):
        (tmp_path / "new" / "journal.jsonl").write_bytes(text[:length])
        again = Journal.read(tmp_path / "new")
        assert set(again.records) <= {"a", "b"}
        again.note("failed", "c", error="x")
        assert Journal.read(tmp_path / "new").records["c"].error == "x"
    assert journal.prompts == {("s", "2"): ("b", "")} and not journal.records


def test_a_journal_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="make room there"):
        Journal(tmp_path / "file").note("done", "a")
    with pytest.raises(DVAError, match="cannot be made"), lock_folder(Path(tmp_path / "file" / "x")):
        pass
