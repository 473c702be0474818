"""A batch over servers: pretended ones on loopback, which die, hang, refuse and break off. Every result is there once, whole and right."""

from __future__ import annotations

import errno
import json
import os
import shutil
import ssl
import subprocess
import time
from base64 import b64encode
from collections import Counter
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

pytest.importorskip("aiohttp")
from aiohttp import ClientTimeout
from batch_server import FakeComfy, result_of
from waiting import LONG, until

from dva_core.batch import Stopped, make_manifest, make_plan, run_on_servers
from dva_core.batch import client as client_module
from dva_core.batch import servers as servers_module
from dva_core.batch.manifest import Server
from dva_core.batch.servers import PATIENCE
from dva_core.errors import DVAError

from .plans import EDITS, Events, both_up, check_results, plan_of


def test_four_videos_times_three_edits_on_two_servers(tmp_path):
    plan, events = plan_of(tmp_path), Events()
    with FakeComfy(0.1, 0.05) as one, FakeComfy(0.1, 0.05) as two:
        for this, other in ((one, two), (two, one)):  # neither is ever without work before the other: nothing is taken over
            this.holds = lambda this=this, other=other: other.begun < this.begun or not events.of("progress", worker=this.url)
        summary = run_on_servers(plan, [one.url, two.url], watch=events)
        check_results(plan)
        assert summary.done == 12 and not summary.failed and summary.missing == 0
        assert set(one.encodes.values()) == set(two.encodes.values()) == {1}
        assert set((one.decodes + two.decodes).values()) == {1} and set((one.uploads + two.uploads).values()) == {1}
        assert sum(tally.jobs for tally in summary.workers.values()) == 12 and sum(
            tally.encodes for tally in summary.workers.values()
        ) == len(one.encodes) + len(two.encodes)
        assert {event["worker"] for event in events.of("progress")} == {one.url, two.url}
        assert events[-1] == {"event": "end", "done": 12, "before": 0, "failed": 0, "missing": 0}
        requests = one.requests + two.requests
        again = run_on_servers(plan, [one.url, two.url])
        assert again.before == 12 and again.done == 0 and one.requests + two.requests == requests  # nothing to ask for
        plan.jobs[0].result.unlink()
        one.holds = None
        assert run_on_servers(plan, [one.url]).done == 1
        check_results(plan)


def test_a_server_that_dies_half_way(tmp_path):
    plan = plan_of(tmp_path)
    with FakeComfy(0.1, 0.1) as one, FakeComfy(0.1, 0.1) as two:
        died = []

        def die(event: dict) -> None:
            if len(events.of("begun", worker=two.url)) == 3 and not died:
                two.kill()
                died.append(event)

        one.holds = lambda: one.decodes.total() == 3 and not died
        summary = run_on_servers(plan, [one.url, two.url], watch=(events := Events(die)))
        check_results(plan)
        assert summary.done == 12 and summary.workers[two.url].lost >= 1 and summary.workers[one.url].jobs >= 8
        assert Counter(event["job"] for event in events.of("done")).most_common(1)[0][1] == 1
        assert [event["state"] for event in events.of("server", worker=two.url)] == ["up", "lost"]


def test_a_server_that_comes_back(tmp_path):
    """At once, with an empty queue, and after it was missed."""
    plan = plan_of(tmp_path)
    with FakeComfy() as one:

        def fall_and_rise(event: dict) -> None:
            if event["event"] == "begun" and len(events.of("begun")) in (3, 9):
                one.kill()
                if len(events.of("begun")) == 3:
                    one.revive()
            if event["event"] == "server" and len(events.of("server", state="lost")) == 2 and event["state"] == "lost":
                one.revive()

        summary = run_on_servers(plan, [one.url], watch=(events := Events(fall_and_rise)))
        check_results(plan)
        assert summary.done == 12 and summary.workers[one.url].lost == 2
        assert set(one.uploads.values()) == {1}  # what it has it is not sent again


@pytest.mark.parametrize("wakes", ["meanwhile", "afterwards"])
def test_a_server_that_hangs(tmp_path, monkeypatch, wakes):
    """Longer than the time-out: its job is begun elsewhere. When it wakes, it is taken off what it still had."""
    plan, stuck, clients, client = plan_of(tmp_path), [], {}, servers_module.Client

    def patient(server, _, ca):
        clients[server.url] = client(server, LONG, ca)
        return clients[server.url]

    monkeypatch.setattr(servers_module, "Client", patient)
    with FakeComfy() as one, FakeComfy() as two:

        def hangs(does: bool) -> None:
            """Only then it has little time to answer: on a busy machine it may need more when all is well."""
            two.hangs, seconds = does, 1.0 if does else LONG
            clients[two.url]._session._timeout = ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)

        def hang(event: dict) -> None:
            if not stuck and len(events.of("begun", worker=two.url)) == 2:
                hangs(True)
                stuck.append(event["job"])
            elif event["event"] == "begun" and event["job"] in stuck and wakes == "meanwhile":
                hangs(False)

        def waits() -> bool:
            """One does three jobs before the other hangs, and what that hung over not before it is awake and was told."""
            if not stuck:
                return one.decodes.total() == 3
            return wakes == "meanwhile" and f"/{stuck[0]}_" in json.dumps(one.running) and not two.interrupted

        one.holds = waits
        two.holds = lambda: two.decodes.total() == 1 and not two.interrupted
        summary = run_on_servers(plan, [one.url, two.url], watch=(events := Events(hang)))
        check_results(plan)
        assert summary.done == 12 and Counter(event["job"] for event in events.of("done")).most_common(1)[0][1] == 1
        assert [event["worker"] for event in events.of("begun", job=stuck[0])] == [two.url, one.url]
        if wakes == "afterwards":
            assert not two.interrupted
            two.hangs = False
            run_on_servers(plan, [one.url, two.url])
        until(lambda: not two.pending and not two.running)
        assert len(two.interrupted) == 1


def test_a_video_that_always_fails(tmp_path):
    plan, events = plan_of(tmp_path), Events()
    with FakeComfy() as one, FakeComfy() as two:
        one.holds = two.holds = lambda: not both_up(events)  # else the first may try what failed again, as long as it is alone
        bad = (tmp_path / "videos" / "v1.mp4").read_bytes()
        one.fails_on = two.fails_on = {bad}
        summary = run_on_servers(plan, [one.url, two.url], watch=events)
        message = f"No face was found in {tmp_path / 'videos' / 'v1.mp4'}; use another."  # the file as it is called here
        assert summary.failed == {f"v1_{edit}": message for edit in "abc"} and summary.done == 9
        check_results(plan, missing=summary.failed)
        tried = [(event["job"], event["worker"]) for event in events.of("begun") if event["job"].startswith("v1")]
        assert len(tried) == 6 == len(set(tried))  # once on each
        one.fails_on = two.fails_on = set()
        assert run_on_servers(plan, [one.url]).done == 3
        check_results(plan)


def test_a_job_that_the_server_refuses(tmp_path):
    plan = plan_of(tmp_path, 2, {"a": {"Young": 1}, "x": {"Refused": 1}})
    with FakeComfy() as one:
        summary = run_on_servers(plan, [one.url])
    assert summary.failed == {f"v{n}_x": "This model has no attribute Refused." for n in range(2)}
    check_results(plan, missing=summary.failed)


def test_results_that_break_off_are_never_half_there(tmp_path):
    plan = plan_of(tmp_path, 2)
    with FakeComfy() as one:
        one.cut_results = 3
        summary = run_on_servers(plan, [one.url])
        assert summary.done == 6 and summary.workers[one.url].lost == 3 and set(one.decodes.values()) == {1}
    check_results(plan)


def test_a_full_disk(tmp_path, monkeypatch):
    """Nothing new is begun meanwhile; when there is room again it goes on, and where there is none the run ends and can be gone on with."""
    plan, full, ahead = plan_of(tmp_path), [True], [0.0]
    whole = client_module.atomic_write

    def no_room(place):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(place)

    monkeypatch.setattr(client_module, "atomic_write", no_room)
    monkeypatch.setattr("dva_core.batch.server_worker.DISK_POLL", 0.2)
    monkeypatch.setattr(servers_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0]))
    with FakeComfy(0.05, 0.05) as one, FakeComfy(0.05, 0.05) as two:
        settled = []

        def lose_patience(event: dict) -> None:
            """Once all that was begun has ended, and the run has looked after itself a few times since."""
            if event["event"] == "left" and events.of("disk"):
                ended = len(one.history) + len(two.history)
                settled.append(ended if ended == len(events.of("begun")) else None)
                if len(settled) > 3 and set(settled[-3:]) == {ended}:
                    ahead[0] = PATIENCE + 1

        with pytest.raises(Stopped, match="make room there"):
            run_on_servers(plan, [one.url, two.url], watch=(events := Events(lose_patience)))
        assert len(events.of("disk")) == 1 and len(events.of("begun")) <= 4
        check_results(plan, missing=[job.name for job in plan.jobs])
        assert not one.pending and not two.pending
        # what is done waits on its server until that is asked for it
        events = Events(lambda event: full.clear() if events.of("disk") and both_up(events) else None)
        assert run_on_servers(plan, [one.url, two.url], watch=events).done == 12
        assert set((one.decodes + two.decodes).values()) == {1}  # what was done waited on the servers
    check_results(plan)


def test_a_job_that_ends_as_the_run_is_stopped_is_not_done_again(tmp_path):
    """The server has finished it, and nobody has been told of it yet."""
    plan = plan_of(tmp_path, 1)
    with FakeComfy() as one:

        def stop(event: dict) -> None:
            if event["event"] == "begun":
                until(lambda: one.history)  # the run waits for this, and hears of nothing
                raise KeyError("stopped")

        with pytest.raises(KeyError, match="stopped"):
            run_on_servers(plan, [one.url], watch=stop)
        assert run_on_servers(plan, [one.url]).done == 3 and set(one.decodes.values()) == {1} and not one.interrupted
    check_results(plan)


def test_servers_that_cannot_be_used(tmp_path, monkeypatch):
    plan = plan_of(tmp_path, 1)
    with FakeComfy(token="Bearer secret") as shut, FakeComfy(lacks="DVADecodeDDIM") as bare:
        with pytest.raises(DVAError, match=r"asks for authorisation.*lacks DVADecodeDDIM"):
            run_on_servers(plan, [shut.url, bare.url])
        with pytest.raises(DVAError, match=r"lacks DVADecodeDDIM.*asks for authorisation"):  # as they are named, whoever answers first
            run_on_servers(plan, [bare.url, shut.url])
        with pytest.raises(DVAError, match="does not answer; start it"):
            run_on_servers(plan, ["http://127.0.0.1:9"], watch=(events := Events()))
        assert events.of("server")[0]["error"] == f"http://127.0.0.1:9 does not answer ({os.strerror(errno.ECONNREFUSED)})."
        with FakeComfy() as front:
            front.sends_on = bare.url.replace("http:", "https:")
            with pytest.raises(DVAError, match=f"{front.url} sends on to {front.sends_on}; name that address"):
                run_on_servers(plan, [front.url])
        with pytest.raises(DVAError, match="named twice"):
            run_on_servers(plan, [bare.url, bare.url + "/"])
        with pytest.raises(DVAError, match="No server was named"):
            run_on_servers(plan)
        with pytest.raises(DVAError, match=r"refuses the authorisation that it was given \(status 401\); check the header"):
            run_on_servers(plan, [Server(url=shut.url, headers={"authorization": "Bearer wrong"})])
        with pytest.raises(DVAError, match=r"The header Authorization names \$BATCH_TEST_TOKEN, which is not in the environment"):
            run_on_servers(plan, [Server(url=shut.url, headers={"Authorization": "Bearer ${BATCH_TEST_TOKEN}"})])
        monkeypatch.setenv("BATCH_TEST_TOKEN", "secret")
        opened = Server(url=shut.url, headers={"Authorization": "Bearer $BATCH_TEST_TOKEN"})
        summary = run_on_servers(plan, [opened, Server(url=bare.url), Server(url="http://127.0.0.1:9")])
        assert summary.done == 3 and list(summary.workers) == [shut.url]


def test_a_password_in_an_address_is_told_to_nobody(tmp_path):
    plan, events = plan_of(tmp_path, 1), Events()
    with FakeComfy(token="Basic " + b64encode("anna:pass wörd".encode()).decode()) as one:
        summary = run_on_servers(plan, [one.url.replace("//", "//anna:pass%20w%C3%B6rd@")], watch=events)
        assert summary.done == 3 and list(summary.workers) == [one.url]
    assert "anna" not in json.dumps(events) + (plan.state / "journal.jsonl").read_text()


def test_a_name_that_the_disk_refuses(tmp_path, monkeypatch):
    """One of the jobs fails for it, and the others are not kept waiting for room."""
    plan, whole = plan_of(tmp_path, 2), client_module.atomic_write

    def refuse(place):
        if place.name == "v0_a.mp4":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return whole(place)

    monkeypatch.setattr(client_module, "atomic_write", refuse)
    with FakeComfy() as one:
        summary = run_on_servers(plan, [one.url], watch=(events := Events()))
    (message,) = summary.failed.values()
    assert "v0_a.mp4 is a name that its disk refuses (Invalid argument); give the video another `name`" in message and not events.of("disk")
    check_results(plan, missing=summary.failed)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_https_with_a_certificate_of_ones_own(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    plan = plan_of(tmp_path, 1)
    with FakeComfy(ssl_context=context) as one:
        with pytest.raises(DVAError, match="has a certificate that is not trusted here; give its issuer's with --ca"):
            run_on_servers(plan, [one.url])
        assert run_on_servers(plan, [one.url], ca=certificate).done == 3
    check_results(plan)


def test_results_of_other_settings_stay_until_they_are_asked_for_anew(tmp_path):
    plan = plan_of(tmp_path, 2, results="out")
    with FakeComfy() as one:
        run_on_servers(plan, [one.url])
        other = plan_of(tmp_path, 2, {**EDITS, "a": {"Young": 0.5}}, results="out")
        summary = run_on_servers(other, [one.url])
        assert summary.stale == ["v0_a", "v1_a"] and summary.done == 0
        check_results(plan)
        assert run_on_servers(other, [one.url], redo=True).done == 2
        check_results(other)


def test_videos_of_one_name_and_of_one_content(tmp_path):
    """Files are named by content on the servers: nothing of a user's is written over, the same content goes there once."""
    for name, content in {"a/x.mp4": b"one", "b/x.mp4": b"two", "b/x.mov": b"three", "c/y.mp4": b"one"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content * 100)
    plan = make_plan(make_manifest({"videos": ["**/*"], "edits": {"e": {"Young": 1}}}), tmp_path)
    with FakeComfy() as one:
        run_on_servers(plan, [one.url])
        assert len(one.files) == 3 and set(one.uploads.values()) == {1}
    assert sorted(job.name for job in plan.jobs) == ["a/x_e", "b/x-mov_e", "b/x-mp4_e", "c/y_e"]
    for job in plan.jobs:
        assert job.result.read_bytes() == result_of(job.video.read_bytes(), '{"Young": 1.0}')


def test_many_servers_many_jobs(tmp_path):
    """Nothing is kept of what is done: the client's books are as long as what runs."""
    plan = plan_of(tmp_path, 20)
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeComfy(0.0, 0.01)) for _ in range(4)]
        for server in servers:  # none is without work before the others: nothing is taken over
            server.holds = lambda server=server: any(other.begun < server.begun for other in servers)
        summary = run_on_servers(plan, [server.url for server in servers])
        assert summary.done == 60 and sum((sum((s.decodes for s in servers), Counter())).values()) == 60
        assert all(len(server.encodes) == 5 and max(server.encodes.values()) == 1 for server in servers)
    check_results(plan)
