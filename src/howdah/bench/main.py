"""Run workloads in rounds, and print medians and ratios."""

from __future__ import annotations

import asyncio
import importlib
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from howdah.app import App
from howdah.bench import groups, loop, pipelines, plain, scale, schedules, steps
from howdah.bench.bars import BARS
from howdah.bench.figures import Figure, Workload
from howdah.bench.running import forget
from howdah.bench.soak import BATCH, soak
from howdah.config import Config
from howdah.errors import HowdahError, InvalidOption

WORKLOADS: dict[str, Workload] = {
    "drain": plain.drain,
    "enqueue": plain.enqueue,
    "latency": plain.latency,
    "waiting": plain.waiting,
    "plain": plain.plain,
    "machine": steps.machine,
    "actors": steps.actors,
    "inbox": steps.inbox,
    "family": steps.family,
    "pipeline": pipelines.pipeline,
    "schedules": schedules.schedules,
    "groups": groups.groups,
    "sizes": scale.sizes,
    "workers": scale.workers,
    "backlog": scale.backlog,
    "pinned": scale.pinned,
    "million": scale.million,
}
SOAK = "soak"  # only when it is named: it takes minutes
_ONCE = {"million"}  # in the first round alone


def run(
    names: Sequence[str] = (),
    *,
    tasks: int = 20_000,
    rounds: int = 3,
    concurrency: int = 500,
    dsn: str | None = None,
    minutes: float = 10,
    rate: int = 1_000,
    output: str = "table",
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> int:
    """Measure the workloads of these names (all of them if none is named), `rounds` times each, in turn; print the medians.

    Both sides of a ratio are measured right after one another in every round, and the ratio is the median of the
    rounds': the machine may drift. The soak runs once, for so many minutes, with so many new tasks a second.
    Raises InvalidOption for an unknown workload.
    """
    for name in names:
        if name not in (*WORKLOADS, SOAK):
            raise InvalidOption(f"there is no workload {name!r}", hint=f"There are: {', '.join((*WORKLOADS, SOAK))}")
    if tasks < 100 or rounds < 1:
        raise InvalidOption("bench needs at least 100 tasks and one round")
    if minutes <= 0 or rate < BATCH:
        raise InvalidOption(f"a soak needs some minutes, and a rate of at least {BATCH} tasks a second")
    chosen = [name for name in names or WORKLOADS if name != SOAK]
    measured, server = _runner()(_measure(chosen, tasks, rounds, concurrency, dsn, say))
    samples: list[dict[str, float]] = []
    if SOAK in names:
        say(f"{SOAK}: {minutes:g} minutes")
        figures, samples = _runner()(_soak(minutes * 60, rate, concurrency, dsn))
        measured |= {figure.name: [figure] for figure in figures}
    rows = [_row(name, figures) for name, figures in measured.items()]
    setting = {
        "tasks": tasks,
        "rounds": rounds,
        "concurrency": concurrency,
        "python": platform.python_version(),
        "server": server,
    }
    if output == "table":
        _print(rows, setting)
    else:
        print(msgspec.json.encode({"setting": setting, "figures": rows, "samples": samples}).decode())
    return 0


def _runner() -> Callable[[Any], Any]:
    try:
        return importlib.import_module("uvloop").run
    except ImportError:
        return asyncio.run


async def _measure(
    names: Sequence[str], tasks: int, rounds: int, concurrency: int, dsn: str | None, say: Callable[[str], None]
) -> tuple[dict[str, list[Figure]], str]:
    measured: dict[str, list[Figure]] = {}
    async with App(dsn or Config.read().dsn, config=False) as app:
        database = await app.database()
        async with database.connection() as conn:
            row = await (await conn.execute("show server_version")).fetchone()
        for number in range(1, rounds + 1):
            for name in names:
                if number > 1 and name in _ONCE:
                    continue
                say(f"round {number} of {rounds}: {name}")
                try:
                    for figure in await WORKLOADS[name](app, tasks, concurrency):
                        measured.setdefault(figure.name, []).append(replace(figure, workload=name))
                    async with database.connection() as conn:
                        parked = await (await conn.execute(loop.sql("parked").encode())).fetchone()
                    if parked and parked["tasks"]:
                        raise HowdahError(f"{name} measured nothing: {parked['tasks']} tasks failed: {parked['error']}")
                finally:
                    await forget(app)
    return measured, f"PostgreSQL {row['server_version'] if row else '?'}"


async def _soak(
    seconds: float, rate: int, concurrency: int, dsn: str | None
) -> tuple[list[Figure], list[dict[str, float]]]:
    async with App(dsn or Config.read().dsn, config=False) as app:
        return await soak(app, seconds, rate, concurrency)


def _row(name: str, figures: list[Figure]) -> dict[str, Any]:
    values = [figure.value for figure in figures]
    median, bar = statistics.median(values), BARS.get(figures[0].workload, {}).get(name)
    row: dict[str, Any] = {
        "workload": figures[0].workload,
        "name": name,
        "median": median,
        "least": min(values),
        "most": max(values),
        "unit": figures[0].unit,
    }
    return row if bar is None else row | {"bar": str(bar), "holds": bar.holds(median)}


def _print(rows: list[dict[str, Any]], setting: dict[str, Any]) -> None:
    wide = max(len(row["name"]) for row in rows)
    print(f"{'':{wide}} {'median':>12} {'least':>12} {'most':>12}")
    for row in rows:
        numbers = " ".join(f"{_number(row[column]):>12}" for column in ("median", "least", "most"))
        bar = f"{'✓' if row['holds'] else '✗'} {row['bar']}" if "bar" in row else ""
        print(f"{row['name']:{wide}} {numbers} {row['unit'] if row['unit'] != 'ratio' else '':8} {bar}".rstrip())
    print(
        f"\n{setting['tasks']:,} tasks, {setting['rounds']} rounds, concurrency {setting['concurrency']};"
        f" {setting['server']}, Python {setting['python']}"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
