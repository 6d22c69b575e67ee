"""RESULTS.md and its plots, from what was measured: python benchmarks/report.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plots
from plots import number

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PLOTS = HERE / "plots"
PAGE = HERE / "RESULTS.md"
COLUMNS = {  # of the table side by side: job, figure, heading
    "drain": ("drain", "rate", "drain /s"),
    "cpu": ("drain", "client_us", "client CPU µs"),
    "server": ("drain", "server_us", "server CPU µs"),
    "one": ("one by one", "rate", "enqueue one by one /s"),
    "many": ("many", "rate", "enqueue many /s"),
    "io": ("50 ms at 100", "rate", "50 ms × 100 at once /s"),
    "io1000": ("50 ms at 1000", "rate", "50 ms × 1,000 at once /s"),
    "chain": ("chain", "rate", "steps of a chain /s"),
    "p50": ("latency", "p50_ms", "pick-up p50 ms"),
    "p99": ("latency", "p99_ms", "p99 ms"),
}


def main() -> None:
    PLOTS.mkdir(exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    parts = ["# Results", ""]
    if (file := RESULTS / "peers.json").exists():
        parts += side_by_side(json.loads(file.read_text()))
    if (file := RESULTS / "howdah.json").exists():
        parts += own(json.loads(file.read_text()))
    if (file := RESULTS / "soak.json").exists():
        parts += soak(json.loads(file.read_text()))
    PAGE.write_text("\n".join(parts) + "\n")
    print(f"written: {PAGE}")


def side_by_side(said: dict[str, Any]) -> list[str]:
    setting, found = said["setting"], said["contenders"]
    servers = ", ".join(setting["servers"].values())
    parts = [
        "## Side by side",
        "",
        f"`make peers`, medians of {setting['rounds']} rounds in which all take turns. {setting['cpu']}, {setting['cores']} cores,"
        f" {setting['memory_gb']} GB; {servers}; Python {setting['python']}; {setting['date']}. PostgreSQL with "
        + ", ".join(f"`{name} = {value}`" for name, value in setting["settings"].items())
        + ". Each is set up as its own documentation advises (`peers/`), in an environment of its own.",
        "",
        "| | " + " | ".join(heading for _, _, heading in COLUMNS.values()) + " |",
        "| --- " * (len(COLUMNS) + 1) + "|",
    ]
    order = {"howdah": 0, "bare": 1}
    for one in sorted(found, key=lambda one: (one["needs"] == "redis", order.get(one["name"], 2), -_rate(one))):
        if one["failed"]:
            continue
        cells = [_cell(one, job, figure) for job, figure, _ in COLUMNS.values()]
        name = f"{one['name']} {one['version']}".strip() + (" (Redis)" if one["needs"] == "redis" else "")
        parts.append(f"| {'**' + name + '**' if one['name'] == 'howdah' else name} | " + " | ".join(cells) + " |")
    parts.append("")
    for one in found:
        if one["failed"]:
            parts.append(f"- {one['name']}: {one['failed']}")
        for job, why in one["refused"].items():
            parts.append(f"- {one['name']}, {job}: {why}")
    parts += ["", "What was chosen for speed:", ""]
    parts += [f"- {one['name']}: {one['settings']}" for one in found if one["settings"]]
    parts += ["", "A `–` is not done in time, or not offered.", ""]
    for job, figure, heading in COLUMNS.values():
        rows = [
            (f"{one['name']} ({one['needs']})", *(one["figures"][job][figure][k] for k in ("median", "least", "most")))
            for one in found
            if job in one["figures"] and figure in one["figures"][job]
        ]
        if rows and not figure.endswith("_us"):
            parts.append(_shown(plots.bars(heading, "side by side", rows, PLOTS, ours="howdah")))
    return [*parts, ""]


def own(said: dict[str, Any]) -> list[str]:
    setting, rows = said["setting"], said["figures"]
    parts = [
        "## Beside a bare loop",
        "",
        f"`howdah bench`: {setting['tasks']:,} tasks, {setting['rounds']} rounds, concurrency {setting['concurrency']};"
        f" {setting['server']}, Python {setting['python']}. The bare loop claims, runs an empty coroutine for each row, and archives.",
        "",
        "| figure | median | least | most | | bar |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        bar = f"{'✓' if row['holds'] else '✗'} {row['bar']}" if "bar" in row else ""
        numbers = " | ".join(number(row[column]) for column in ("median", "least", "most"))
        parts.append(f"| {row['name']} | {numbers} | {row['unit'] if row['unit'] != 'ratio' else ''} | {bar} |")
    parts.append("")
    for workload in dict.fromkeys(row["workload"] for row in rows):
        for unit in dict.fromkeys(row["unit"] for row in rows if row["workload"] == workload):
            some = [row for row in rows if row["workload"] == workload and row["unit"] == unit]
            if unit != "ratio" and len(some) > 1:
                drawn = [(row["name"], row["median"], row["least"], row["most"]) for row in some]
                parts.append(_shown(plots.bars(f"{workload}, {unit.replace('/', ' per ')}", unit, drawn, PLOTS)))
    return [*parts, ""]


def soak(said: dict[str, Any]) -> list[str]:
    samples = said["samples"]
    names = {
        "waiting": "tasks waiting",
        "p99_ms": "enqueue → start, p99 ms",
        "memory_mb": "memory of the worker, MB",
        "dead_rows": "dead rows of howdah.task",
        "table_mb": "size of howdah.task with its indexes, MB",
    }
    series = {label: [sample[name] for sample in samples] for name, label in names.items()}
    parts = [
        "## A soak",
        "",
        "`howdah bench soak`: a mix of functions, machines, retries, delays, keys and groups.",
        "",
    ]
    parts += ["| figure | |", "| --- | --- |"]
    parts += [
        f"| {row['name']} | {number(row['median'])} {row['unit'] if row['unit'] != 'ratio' else ''} |"
        for row in said["figures"]
    ]
    return [*parts, "", _shown(plots.lines("soak", [sample["second"] for sample in samples], series, PLOTS)), ""]


def _rate(one: dict[str, Any]) -> float:
    return one["figures"].get("drain", {}).get("rate", {}).get("median", 0)


def _cell(one: dict[str, Any], job: str, figure: str) -> str:
    found = one["figures"].get(job, {}).get(figure)
    return "–" if found is None else number(found["median"])


def _shown(file: Path) -> str:
    return f"![{file.stem}]({file.relative_to(HERE)})"


if __name__ == "__main__":
    main()
