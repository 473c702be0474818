"""The table of hosts and tests: what failed is seen in it, and where there is no host it says so."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from . import all_hosts, comfy_server

CASES = """<testsuite>
<testcase classname="tests.host.test_a" name="one" time="1.5"/>
<testcase classname="tests.host.test_a" name="two" time="2"><skipped/></testcase>
<testcase classname="tests.host.test_b" name="three" time="3"><failure/></testcase>
<testcase classname="tests.host.test_b" name="four" time="3"><error/></testcase>
</testsuite>"""


def pretend(monkeypatch, cases):
    """These hosts, and these tests that ran on each."""
    monkeypatch.setattr(all_hosts, "find_hosts", lambda: list(cases))
    monkeypatch.setattr(all_hosts, "named_hosts", list)
    monkeypatch.setattr(all_hosts, "title", lambda comfy: str(comfy).partition("@")[0])
    monkeypatch.setattr(all_hosts, "run", lambda comfy, arguments: cases[comfy])


def test_a_row_a_test_and_a_column_a_host(monkeypatch, capsys):
    cases = {"1.0": list(ElementTree.fromstring(CASES)), "2.0": list(ElementTree.fromstring(CASES))[:1]}
    pretend(monkeypatch, cases)
    assert all_hosts.main() == 1
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert cells[0] == ["tests", "ComfyUI 1.0", "ComfyUI 2.0"] and len({len(line) for line in lines if line.startswith("|")}) == 1
    assert cells[2:] == [
        ["test_a", "1 passed, 1 skipped, 4 s", "1 passed, 2 s"],
        ["test_b", "2 FAILED, 6 s", "-"],
        ["all", "1 passed, 1 skipped, 2 FAILED, 10 s", "1 passed, 2 s"],
    ]
    assert lines[-2:] == ["FAILED on 1.0: test_b::three", "FAILED on 1.0: test_b::four"]
    cases.pop("1.0")
    assert all_hosts.main() == 0


def test_hosts_of_one_version_have_a_column_each(monkeypatch, capsys):
    case = list(ElementTree.fromstring(CASES))[:1]
    pretend(monkeypatch, {"1.0@here": case, "1.0@there": []})
    assert all_hosts.main() == 1
    out = capsys.readouterr().out
    assert "ComfyUI 1.0 in 1.0@here | ComfyUI 1.0 in 1.0@there" in out and "NOTHING RAN on 1.0 in 1.0@there" in out


def test_what_was_named_and_is_no_host_is_said(monkeypatch, capsys, tmp_path):
    pretend(monkeypatch, {"1.0": list(ElementTree.fromstring(CASES))[:1]})
    monkeypatch.setattr(all_hosts, "named_hosts", lambda: [tmp_path])
    assert all_hosts.main() == 1 and f"NO COMFYUI: {tmp_path}" in capsys.readouterr().out


def test_named_hosts_come_before_those_found(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_DIR", str(tmp_path / "one"))
    monkeypatch.setenv("COMFYUI_DIRS", "")
    assert comfy_server.named_hosts() == [tmp_path / "one"]
    monkeypatch.setenv("COMFYUI_DIRS", os.pathsep.join([str(tmp_path / "two"), str(tmp_path / "three")]))
    assert comfy_server.named_hosts() == [tmp_path / "two", tmp_path / "three"] and comfy_server.find_hosts() == []
    (tmp_path / "three" / "comfy").mkdir(parents=True)
    (tmp_path / "three" / "main.py").touch()
    assert comfy_server.find_hosts() == [tmp_path / "three"]


def test_all_host_tests_run_in_two_processes_where_the_options_name_none(monkeypatch):
    commands = []
    monkeypatch.setattr(all_hosts.subprocess, "run", lambda command, **_: commands.append(command))
    everything = sorted(f"tests/host/{path.name}" for path in Path(__file__).parent.glob("test_*.py"))
    for arguments in ([], ["-k", "tests"]):
        assert all_hosts.run(Path("host"), arguments) == []
        first, second = ([word for word in command if word.endswith(".py")] for command in commands)
        assert sorted(first + second) == everything and min(len(first), len(second)) > 5
        assert all(command[-len(arguments) :] == arguments for command in commands if arguments)
        commands.clear()
    assert all_hosts.run(Path("host"), ["tests/host/test_all_hosts.py::test_x", "-x"]) == []
    assert len(commands) == 1 and commands[0][-2:] == ["tests/host/test_all_hosts.py::test_x", "-x"]


def test_a_host_that_takes_too_long_is_named(monkeypatch, capsys):
    clock = iter([0.0, all_hosts.MOST_SECONDS + 21])
    monkeypatch.setattr(all_hosts.time, "monotonic", lambda: next(clock))
    pretend(monkeypatch, {"1.0": list(ElementTree.fromstring(CASES))[:1]})
    assert all_hosts.main() == 0 and "SLOW: 1.0 took 501 s, more than 480 s" in capsys.readouterr().out


def test_without_a_host_it_is_said_in_capitals(monkeypatch, capsys):
    monkeypatch.setattr(all_hosts, "find_hosts", list)
    assert all_hosts.main() == 1 and "NO COMFYUI WAS FOUND" in capsys.readouterr().out
