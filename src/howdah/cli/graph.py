"""graph: draw a state machine."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from howdah.cli import apps
from howdah.cli.options import ANYWHERE, Where
from howdah.errors import InvalidOption, UnknownKind
from howdah.graph import Graph
from howdah.kinds.machine import MachineKind, graph_of


def graph(
    kind: Annotated[str, Parameter(name="KIND", help="The name of a state machine")],
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
    """Draw a state machine: from its code if that is here, else as its workers told the database."""
    drawn = _drawn(kind, app, where)
    match output:
        case "text":
            print(drawn.text())
        case "mermaid":
            print(drawn.mermaid())
        case "svg":
            print(drawn.svg())


def _drawn(kind: str, app: str | None, where: Where) -> Graph:
    found = apps.here(app, where.dsn, "machine")
    handler = found.registry.find(kind)
    if isinstance(handler, MachineKind):
        return handler.graph()
    if handler is not None:
        raise InvalidOption(f"{kind} has no steps to draw", hint="It is no state machine")
    with where.client() as client:
        rows = {row["name"]: row for row in client.kinds_sync()}
    if kind not in rows:
        known = sorted({*rows, *found.registry.names()})
        raise UnknownKind(f"there is no kind {kind!r}", hint=f"Known kinds: {', '.join(known) or 'none yet'}")
    if rows[kind]["steps"] is None:
        raise InvalidOption(f"{kind} has no steps to draw", hint="It is no state machine")
    return graph_of(kind, rows[kind]["steps"])
