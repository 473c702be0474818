"""A run that is killed or stopped and started again: nothing is computed twice, nothing is left on the servers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from waiting import LONG, until

pytest.importorskip("aiohttp")
from batch_server import FakeComfy

from dva_core.batch import run_on_servers
from dva_core.batch.journal import Journal
from dva_core.errors import DVAError

from .plans import EDITS, Events, both_up, check_results, plan_of

CLIENT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background shell has its children ignore
from dva_core.batch import make_manifest, make_plan, run_on_servers
folder, *urls = sys.argv[1:]
plan = make_plan(make_manifest({"videos": ["videos"], "edits": EDITS}), folder)
try:
    run_on_servers(plan, urls, watch=lambda event: print(json.dumps(event), flush=True))
except KeyboardInterrupt:
    sys.exit("stopped")
""".replace("EDITS", repr(EDITS))


def start_client(folder: Path, *urls: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(folder), *urls], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_done(client: subprocess.Popen, jobs: int) -> None:
    done = 0
    for line in client.stdout:
        done += json.loads(line)["event"] == "done"
        if done == jobs:
            return
    raise AssertionError(client.stderr.read())


def test_the_client_is_killed_and_started_again(tmp_path):
    """What ran goes on meanwhile and is taken up: nothing is computed twice."""
    plan = plan_of(tmp_path)
    with FakeComfy(0.2, 0.2) as one, FakeComfy(0.2, 0.2) as two:
        for decodes in (2, 3):
            one.holds, two.holds = lambda: one.decodes.total() >= decodes, lambda: two.decodes.total() >= decodes  # noqa: B023
            client = start_client(tmp_path, one.url, two.url)
            until_done(client, 4 if decodes == 2 else 2)
            until(lambda: one.running and two.running)
            client.kill()
            client.communicate()
        with open(plan.state / "journal.jsonl", "ab") as journal:
            journal.write(b'{"event": "done", "job": "v3')  # a line that was being written

        def go_on(event: dict) -> None:
            if both_up(events):  # each is asked for what ran there before the other may begin that
                one.holds = two.holds = None

        summary = run_on_servers(plan, [one.url, two.url], watch=(events := Events(go_on)))
        check_results(plan)
        assert summary.done + summary.before == 12 and summary.before >= 6
        assert set((one.decodes + two.decodes).values()) == {1}
        assert any(event.get("taken_up") for event in events.of("server"))
        assert not (one.pending + two.pending + one.running + two.running)


def test_nothing_is_begun_before_every_server_was_asked_what_it_has(tmp_path):
    plan = plan_of(tmp_path, 2)
    with FakeComfy() as one, FakeComfy() as two:
        one.holds = two.holds = lambda: True
        client = start_client(tmp_path, one.url, two.url)
        until(lambda: one.running and two.running)
        client.kill()
        client.communicate()
        one.holds, two.holds, two.hangs = None, None, True

        def wake(event: dict) -> None:
            if event["event"] == "left" and events.of("done", worker=one.url):
                two.hangs = False

        summary = run_on_servers(plan, [one.url, two.url], watch=(events := Events(wake)))
        assert summary.done == 6 and set((one.decodes + two.decodes).values()) == {1}
        ups = events.of("server", state="up")
        assert len(ups) == 2 and all(event["taken_up"] for event in ups) and events.index(ups[1]) < events.index(events.of("begun")[0])
    check_results(plan)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process alone")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_what_waits_on_a_server_is_taken_back(tmp_path, how):
    plan = plan_of(tmp_path)
    with FakeComfy() as one:
        one.holds = lambda: one.decodes.total() >= 2
        client = start_client(tmp_path, one.url)
        until_done(client, 2)
        until(lambda: one.running)
        client.send_signal(how)
        errors = client.communicate(timeout=LONG)[1]
        assert client.returncode == 1 and errors.strip() == "stopped"
        until(lambda: not one.pending and not one.running)
        assert len(one.interrupted) == 1
        one.holds = None
        run_on_servers(plan, [one.url])
    check_results(plan)


def test_what_is_no_longer_wanted_is_taken_back(tmp_path):
    """Left by a client that was killed, and not in the batch any more, or there already."""
    plan = plan_of(tmp_path, 1)
    with FakeComfy() as one:
        one.holds = lambda: True
        client = start_client(tmp_path, one.url)
        assert any(json.loads(line)["event"] == "begun" for line in client.stdout)
        ((_, prompt, *_),) = until(lambda: one.running)
        client.kill()
        client.communicate()
        for job in plan.jobs:
            job.result.write_bytes(b"by hand")
        assert run_on_servers(plan, [one.url]).before == 3
        assert one.interrupted == [prompt]
        assert not Journal.read(plan.state).prompts and plan.jobs[0].result.read_bytes() == b"by hand"


def test_one_run_at_a_time(tmp_path):
    plan = plan_of(tmp_path, 2)
    with FakeComfy() as one:
        one.holds = lambda: one.decodes.total() >= 1
        client = start_client(tmp_path, one.url)
        until_done(client, 1)
        with pytest.raises(DVAError, match="Another run is at work"):
            run_on_servers(plan, [one.url])
        one.holds = None
        client.communicate(timeout=LONG)
    check_results(plan)
