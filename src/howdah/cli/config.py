"""config: every setting, its value, and where that came from."""

from __future__ import annotations

import os
from typing import Any

from howdah.cli.errors import say
from howdah.cli.options import ANYWHERE, Output, Where
from howdah.cli.output import Column, Row, flat, for_people, print_rows
from howdah.config import Config
from howdah.config.sources import nearly

# What the absence of a value means, for people.
_NOTHING = {
    "dsn": "(an embedded PostgreSQL)",
    "app": "(the one App here)",
    "queues": "(every queue)",
    "process_slots": "(one per core)",
}


def config(*, output: Output = None, where: Where = ANYWHERE) -> None:
    """Show every setting, its value, where that came from, and what it hides.

    What counts most: a flag or an argument in code, a variable of the environment, the file, what is built in.
    """
    read = Config.read()
    rows = [
        {
            "key": setting.key,
            "value": setting.value,
            "origin": setting.origin,
            "hides": [{"value": value, "origin": origin} for value, origin in setting.hides],
        }
        for setting in read.settings({} if where.dsn is None else {"dsn": where.dsn})
    ]
    print_rows(rows, _columns(for_people(output), any(map(_hides, rows))), output, key="key")
    for name, meant in nearly(os.environ).items():
        say(f"note: {name} is no setting; did you mean {meant}?")
    if for_people(output):
        say(f"read {read.file}" if read.file else "there is no howdah.toml or [tool.howdah] here or above")


def _columns(people: bool, hides: bool) -> tuple[Column, ...]:
    def value(row: Row) -> Any:
        return _NOTHING.get(row["key"]) if people and row["value"] is None else row["value"]

    columns = (Column.of("key"), Column("value", value), Column.of("origin"), Column("hides", _hides, wide=True))
    return columns if hides or not people else columns[:-1]


def _hides(row: Row) -> str:
    """The values of less weight that somebody said; what is built in is no news."""
    told = (each for each in row["hides"] if each["origin"] != "built in")
    return "; ".join(f"{flat(each['value'])} ({each['origin']})" for each in told)
