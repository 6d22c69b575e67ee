"""The workload of pipelines, beside the drain of plain functions in the same round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from howdah import calls
from howdah.app import App
from howdah.bench.figures import Figure
from howdah.bench.running import drain_rate, run_empty
from howdah.bench.steps import CONCURRENCY
from howdah.calls import NewTask

FILE = """
name: bench.pipeline
defaults: {queue: bench}
pipeline:
  take: {module: python, inputs: again, config: {function: "howdah.bench.pipelines:take"}}
  positive: {module: filter, inputs: take, config: {when: "n > 0"}}
  worded: {module: template, inputs: positive, config: {set: {text: "number {{ n }}"}}}
  halve: {module: python, inputs: worded, config: {function: "howdah.bench.pipelines:halve"}}
  small: {module: filter, inputs: halve, config: {when: "half < 1000000"}}
  again: {module: cron, config: {cron: "0 0 1 1 *"}}
"""
STAGES = 5


async def take(event: dict[str, Any]) -> dict[str, Any]:
    return event


async def halve(event: dict[str, Any]) -> dict[str, Any]:
    return event | {"half": event["n"] / 2}


async def pipeline(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """Half as many events as there are tasks, through five stages: functions, filters, a template."""
    from howdah.pipeline.adding import add_pipeline
    from howdah.pipeline.document import parse

    bench = App(app.dsn, config=False)
    add_pipeline(bench, parse(FILE, Path("bench.yaml")))
    drained = await drain_rate(app, tasks, CONCURRENCY)
    events = tasks // 2
    await bench.run(calls.declare(bench.registry.declaration(), overwrite=True))
    payloads = json.dumps([{"n": n} for n in range(1, events + 1)])
    await bench.run(calls.enqueue_many(NewTask("bench.pipeline", "", step="take"), payloads))
    rate = events / await run_empty(bench, CONCURRENCY)
    await bench.unschedule("bench.pipeline.again")
    await bench.close()
    return [
        Figure("events through five stages", rate, "events/s"),
        Figure("stages ÷ drain", rate * STAGES / drained, "ratio"),
        Figure("events ÷ drain", rate / drained, "ratio"),
    ]
