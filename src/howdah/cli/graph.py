"""graph: draw a state machine or a pipeline, with how many tasks stand where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from howdah.cli import apps
from howdah.cli.options import ANYWHERE, Where, home
from howdah.errors import CannotConnect, InvalidOption, SchemaMismatch, UnknownKind
from howdah.graph import Graph
from howdah.kinds.machine import MachineKind, graph_of

_SAID = {"queued": "waiting", "running": "running", "suspended": "suspended", "failed": "failed"}


def graph(
    kind: Annotated[
        str, Parameter(name="KIND", help="The name of a state machine or pipeline, or the file of a pipeline")
    ],
    /,
    *,
    output: Annotated[
        Literal["text", "mermaid", "svg"], Parameter(name=["--output", "-o"], help="How to draw it")
    ] = "text",
    app: Annotated[
        str | None, Parameter(help="MODULE:APP that has it [default: as for worker, else the database]")
    ] = None,
    where: Where = ANYWHERE,
) -> None:
    """Draw a state machine or a pipeline: from its code or file if that is here, else as workers told the database.

    Where the database is there, each step says how many live tasks stand at it.
    """
    drawn = _file(kind, where) if kind.endswith((".yaml", ".yml")) else _kind(kind, app, where)
    match output:
        case "text":
            print(drawn.text())
        case "mermaid":
            print(drawn.mermaid())
        case "svg":
            print(drawn.svg())


def _file(name: str, where: Where) -> Graph:
    from howdah.pipeline.document import load

    document = load(Path(name))
    return document.graph(_notes(document.name, where))


def _kind(kind: str, app: str | None, where: Where) -> Graph:
    found = apps.here(app, where.dsn, "machine")
    handler = found.registry.find(kind)
    if isinstance(handler, MachineKind):
        return graph_of(kind, handler.described(), _notes(kind, where))
    if handler is not None:
        raise InvalidOption(f"{kind} has no steps to draw", hint="It is no state machine")
    with where.client() as client:
        rows = {row["name"]: row for row in client.kinds_sync()}
    if kind not in rows:
        known = sorted({*rows, *found.registry.names()})
        raise UnknownKind(f"there is no kind {kind!r}", hint=f"Known kinds: {', '.join(known) or 'none yet'}")
    if rows[kind]["steps"] is None:
        raise InvalidOption(f"{kind} has no steps to draw", hint="It is no state machine")
    return graph_of(kind, rows[kind]["steps"], _notes(kind, where))


def _notes(kind: str, where: Where) -> dict[str, str]:
    """How many tasks stand at each step; nothing where no database is: a drawing needs none."""
    from howdah.client import Client

    client = Client(where.dsn)
    if client.installation.dsn is None and not home().exists():
        return {}
    counts: dict[str, list[str]] = {}
    try:
        rows = client.step_counts_sync(kind)
    except (CannotConnect, SchemaMismatch):
        return {}
    finally:
        client.close_sync()
    for status, word in _SAID.items():
        for row in rows:
            if row["status"] == status and row["step"] is not None:
                counts.setdefault(row["step"], []).append(f"{row['tasks']:,} {word}")
    return {step: ", ".join(said) for step, said in counts.items()}
