"""The host tests on every ComfyUI there is, and a table of hosts and tests: PYTHONPATH=tests python -m host.all_hosts [PYTEST'S OPTIONS]"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from .comfy_server import ROOT, comfy_version, find_hosts

MOST_SECONDS = 8 * 60  # a host


def run(comfy: Path, arguments: list[str]) -> list[ElementTree.Element]:
    """What became of each test on one host."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "tests/host", "-rs", f"--junitxml={report}", *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "COMFYUI_DIRS"}
        subprocess.run(command, cwd=ROOT, env={**environment, "COMFYUI_DIR": str(comfy), "PYTHONPATH": ""})
        return list(ElementTree.parse(report).iter("testcase")) if report.is_file() else []


def outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    return "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"


def module_of(case: ElementTree.Element) -> str:
    return case.get("classname", "").split(".")[-1]


def cell(cases: list[ElementTree.Element]) -> str:
    """Such as "12", "11 + 1 skipped", or "9, 3 FAILED"."""
    counts = Counter(outcome(case) for case in cases)
    text = str(counts["passed"])
    text += f" + {counts['skipped']} skipped" if counts["skipped"] else ""
    return text + (f", {counts['failed']} FAILED" if counts["failed"] else "")


def table(results: dict[str, list[ElementTree.Element]]) -> str:
    """Markdown: a row a test file, a column a host, with the seconds of each in the last row."""
    modules = sorted({module_of(case) for cases in results.values() for case in cases})
    rows = [["test", *(f"ComfyUI {version}" for version in results)]]
    rows += [[module, *(cell([case for case in cases if module_of(case) == module]) for cases in results.values())] for module in modules]
    rows.append(["seconds", *(f"{seconds(cases):.0f}" for cases in results.values())])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def seconds(cases: list[ElementTree.Element]) -> float:
    return sum(float(case.get("time", 0)) for case in cases)


def main(*arguments: str) -> int:
    """1 where a test failed, a host ran none, or there is no host."""
    results = {comfy_version(comfy): run(comfy, list(arguments)) for comfy in find_hosts()}
    if not results:
        sys.stdout.write("NO COMFYUI WAS FOUND: set COMFYUI_DIRS to one or more checkouts of it.\n")
        return 1
    sys.stdout.write(table(results) + "\n")
    for version, cases in results.items():
        for case in cases:
            if outcome(case) == "failed":
                sys.stdout.write(f"FAILED on {version}: {module_of(case)}::{case.get('name')}\n")
        if seconds(cases) > MOST_SECONDS:
            sys.stdout.write(f"SLOW: {version} took {seconds(cases):.0f} s, more than {MOST_SECONDS} s\n")
    return int(any(not cases or any(outcome(case) == "failed" for case in cases) for cases in results.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
