"""howdah beside other task queues, on this machine, in one run: python benchmarks/compare.py [CONTENDER …] --rounds 3

Each contender has a program in `peers/`, an environment of its own, and for each job a fresh database of the same server. The
contenders take turns, in another order each round. One that cannot be installed, or does not finish, is reported with what it said.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from machine import Place, describe, postgresql, redis

HERE = Path(__file__).parent
PEERS = HERE / "peers"
ENVIRONMENTS = HERE.parent / ".venv-peers"
RESULTS = HERE / "results" / "peers.json"
OURS = {"howdah", "bare"}  # run in our own environment

JOBS: dict[str, dict[str, Any]] = {
    "drain": {"verb": "drain", "tasks": 20_000, "concurrency": 500},
    "one by one": {"verb": "one", "tasks": 2_000},
    "many": {"verb": "many", "tasks": 20_000},
    "50 ms at 100": {"verb": "io", "tasks": 2_000, "concurrency": 100},
    "50 ms at 1000": {"verb": "io", "tasks": 20_000, "concurrency": 1_000},
    "chain": {"verb": "chain", "tasks": 10_000, "concurrency": 100},
    "latency": {"verb": "latency", "tasks": 200, "concurrency": 10},
}
PATIENCE = 150  # seconds a job may take, as a whole


@dataclass
class Contender:
    """A program in `peers/`, and what came of it."""

    name: str
    program: Path
    package: str
    needs: str
    settings: str
    python: Path = Path(sys.executable)
    version: str = ""
    failed: str = ""
    measured: dict[str, list[dict[str, float]]] = field(default_factory=dict[str, list[dict[str, float]]])
    refused: dict[str, str] = field(default_factory=dict[str, str])


def contenders() -> list[Contender]:
    """All there are, read without running them: their libraries are not installed here."""
    found: list[Contender] = []
    for program in sorted(PEERS.glob("[a-z]*.py")):
        classes = [node for node in ast.parse(program.read_text()).body if isinstance(node, ast.ClassDef)]
        contender = next(node for node in classes if [ast.unparse(base) for base in node.bases] == ["Contender"])
        said = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in contender.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        needs = said.get("needs", "postgresql")
        found.append(Contender(said["name"], program, said.get("package", ""), needs, said.get("settings", "")))
    return found


def install(contender: Contender) -> None:
    """An environment of its own, with the newest version of what it asks for."""
    if contender.name in OURS:
        return
    home = ENVIRONMENTS / contender.name
    contender.python = home / "bin" / "python"
    steps = [
        *([] if contender.python.exists() else [[sys.executable, "-m", "venv", str(home)]]),
        [str(contender.python), "-m", "pip", "install", "--quiet", *contender.package.split()],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            contender.failed = f"cannot be installed: {_last_line(done.stderr)}"
            return
    library = contender.package.split("[")[0].split(">")[0].split("=")[0]
    code = f"from importlib.metadata import version; print(version({library!r}))"
    contender.version = subprocess.run([contender.python, "-c", code], capture_output=True, text=True).stdout.strip()


def measure(contender: Contender, label: str, job: dict[str, Any], place: Place) -> None:
    """One job, in a database of its own. What goes wrong is kept beside the figures."""
    with place.database() as url:
        for work in ({"verb": "prepare"}, job):
            said = json.dumps(work | {"url": url, "server": place.pid})
            command = [contender.python, contender.program, said]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
            except subprocess.TimeoutExpired:
                contender.refused[label] = f"not done after {PATIENCE} s"
                return
            if done.returncode:
                contender.refused[label] = _last_line(done.stderr)
                return
        contender.measured.setdefault(label, []).append(json.loads(done.stdout.strip().splitlines()[-1]))


def medians(contender: Contender) -> dict[str, dict[str, dict[str, float]]]:
    """Job → figure → its median, least and most."""
    return {
        label: {
            name: {
                "median": statistics.median(values),
                "least": min(values),
                "most": max(values),
            }
            for name, values in ((name, [run[name] for run in runs]) for name in runs[0])
        }
        for label, runs in contender.measured.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CONTENDER", help="only these; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"of: {', '.join(JOBS)}")
    parser.add_argument("--small", action="store_true", help="a tenth of the tasks: to see whether all of them run")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    known = contenders()
    asked.names = [name.lower() for name in asked.names]
    if wrong := set(asked.names) - {one.name.lower() for one in known}:
        parser.error(
            f"there is no contender {', '.join(sorted(wrong))}; there are: {', '.join(one.name for one in known)}"
        )
    if wrong := set(asked.jobs.split(",")) - set(JOBS):
        parser.error(f"there is no job {', '.join(sorted(wrong))}; there are: {', '.join(JOBS)}")
    chosen = [one for one in known if not asked.names or one.name.lower() in asked.names]
    jobs = {label: dict(JOBS[label]) for label in asked.jobs.split(",")}
    if asked.small:
        for job in jobs.values():
            job["tasks"] //= 10

    _say(f"installing {', '.join(one.name for one in chosen if one.name not in OURS)}")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(install, chosen))
    with places({one.needs for one in chosen if not one.failed}) as there:
        for one in chosen:
            if not one.failed and one.needs not in there:
                one.failed = f"there is no {one.needs} on this machine"
            if one.failed:
                _say(f"{one.name}: {one.failed}")
        able = [one for one in chosen if not one.failed]
        for number in range(1, asked.rounds + 1):
            random.Random(number).shuffle(able)
            for label, job in jobs.items():
                for one in able:
                    if label in one.refused:
                        continue
                    measure(one, label, job, there[one.needs])
                    last = one.refused.get(label) or one.measured[label][-1]
                    _say(f"round {number}: {label}: {one.name}: {last}")
        setting = describe() | {
            "rounds": asked.rounds,
            "jobs": jobs,
            "date": date.today().isoformat(),
            "servers": {name: one.version for name, one in there.items()},
        }
    asked.out.parent.mkdir(exist_ok=True)
    found = [
        {
            "name": one.name, "version": one.version, "package": one.package, "needs": one.needs, "settings": one.settings,
            "failed": one.failed, "refused": one.refused, "figures": medians(one), "rounds": one.measured,
        }
        for one in chosen
    ]  # fmt: skip
    asked.out.write_text(json.dumps({"setting": setting, "contenders": found}, indent=1) + "\n")
    _say(f"written to {asked.out}")
    return 0


@contextlib.contextmanager
def places(names: set[str]) -> Iterator[dict[str, Place]]:
    """The servers that are needed, and can be had."""
    with contextlib.ExitStack() as stack:
        there: dict[str, Place] = {}
        if "postgresql" in names:
            there["postgresql"] = stack.enter_context(postgresql())
        if "redis" in names and shutil.which("redis-server"):
            there["redis"] = stack.enter_context(redis())
        yield there


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
