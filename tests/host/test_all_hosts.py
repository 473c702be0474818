"""The table of hosts and tests: what failed is seen in it, and where there is no host it says so."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from . import all_hosts

CASES = """<testsuite>
<testcase classname="tests.host.test_a" name="one" time="1.5"/>
<testcase classname="tests.host.test_a" name="two" time="2"><skipped/></testcase>
<testcase classname="tests.host.test_b" name="three" time="3"><failure/></testcase>
<testcase classname="tests.host.test_b" name="four" time="3"><error/></testcase>
</testsuite>"""


def test_a_row_a_test_and_a_column_a_host(monkeypatch, capsys):
    cases = {"1.0": list(ElementTree.fromstring(CASES)), "2.0": list(ElementTree.fromstring(CASES))[:1]}
    monkeypatch.setattr(all_hosts, "find_hosts", lambda: list(cases))
    monkeypatch.setattr(all_hosts, "comfy_version", str)
    monkeypatch.setattr(all_hosts, "run", lambda comfy, arguments: cases[comfy])
    assert all_hosts.main() == 1
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert cells[0] == ["test", "ComfyUI 1.0", "ComfyUI 2.0"] and len({len(line) for line in lines if line.startswith("|")}) == 1
    assert cells[2:] == [["test_a", "1 + 1 skipped", "1"], ["test_b", "0, 2 FAILED", "0"], ["seconds", "10", "2"]]
    assert lines[-2:] == ["FAILED on 1.0: test_b::three", "FAILED on 1.0: test_b::four"]
    cases.pop("1.0")
    assert all_hosts.main() == 0


def test_without_a_host_it_is_said_in_capitals(monkeypatch, capsys):
    monkeypatch.setattr(all_hosts, "find_hosts", list)
    assert all_hosts.main() == 1 and "NO COMFYUI WAS FOUND" in capsys.readouterr().out
