"""sql: one statement per event, on any database SQLAlchemy knows; each row it returns is an event."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import socket
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal, cast

from msgspec import Meta
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from howdah.context import Context
from howdah.errors import HowdahError
from howdah.outcomes import Fail
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, InvalidField, More
from howdah.pipeline.stages import statement
from howdah.pipeline.stages.engines import Address, Engines, Lent

MAX_ROWS = 10_000
BUILT_IN = ("hostname", "pipeline", "stage", "task_id", "attempt")


class QueryFailed(HowdahError):
    """What the database or its driver said, in one line. `sqlstate` is its code, where it gives one."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Sql(stage.Stage):
    """Runs its statement in a transaction of its own, which is committed before the events are.

    A crash between the two runs it again: write statements that bear it.
    """

    class Config(stage.Config, frozen=True):
        connection: Annotated[
            str,
            Meta(
                description="Where: a SQLAlchemy URL, such as postgresql://user:password@host/database or sqlite:///file.db, "
                "or libpq's host=… dbname=…. Write a password as ${VARIABLE}.",
                min_length=1,
            ),
        ]
        query: Annotated[
            str,
            Meta(
                description="One statement. :name is bound to the event's field of that name, or to hostname, pipeline, stage, "
                "task_id or attempt. A colon that is meant is written \\:",
                min_length=1,
            ),
        ]
        emit: Annotated[
            Literal["rows", "event", "merge"],
            Meta(description="What goes on: each row, the event as it came, or each row merged into the event."),
        ] = "rows"

    config: Config

    @cached_property
    def _statement(self) -> TextClause:
        return text(statement.prepared(self.config.query))

    @cached_property
    def _names(self) -> list[str]:
        return sorted(self._statement.compile().params)

    @cached_property
    def _address(self) -> Address:
        return Address(self.config.connection, self.setting.folder)

    def check(self) -> None:
        _ = self._address, self._names
        if statement.is_several(self.config.query):
            raise InvalidField("query", "query has more than one statement", hint="Make a stage of each")

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        values = self._values(event, ctx)
        lent = Lent(self._engines)
        rows = await lent.run(lambda: self._execute(lent, values))
        match self.config.emit:
            case "rows" if rows is not None:
                return rows
            case "merge" if rows is not None:
                return [event | row for row in rows]
            case _:
                return [event]

    async def close(self) -> None:
        if "_engines" in self.__dict__:
            await asyncio.to_thread(self.__dict__.pop("_engines").release)

    @cached_property
    def _engines(self) -> Engines:
        return Engines.shared(self._address)

    def _values(self, event: Event, ctx: Context) -> dict[str, Any]:
        known: dict[str, Any] = {
            "hostname": socket.gethostname(),
            "pipeline": self.setting.pipeline,
            "stage": self.setting.stage,
            "task_id": ctx.id,
            "attempt": ctx.attempt,
        } | event
        for name in self._names:
            if name not in known:
                fields = ", ".join(sorted(event)[:30]) or "no fields"
                raise Fail(
                    f"query: no value for :{name}; the event has {fields}. If the colon is meant as it stands, write \\:{name}"
                )
        return {name: _bindable(known[name]) for name in self._names}

    def _execute(self, lent: Lent, values: dict[str, Any]) -> list[Event] | None:
        """The rows; None of a statement that returns none. Rolled back if they cannot be events."""
        try:
            # Otherwise the driver fetches all rows there are before the first can be counted.
            with lent.transaction(stream=statement.is_select(self.config.query)) as connection:
                result = connection.execute(self._statement, values)
                if not result.returns_rows:
                    return None
                columns = list(result.keys())
                if twice := {name for name in columns if columns.count(name) > 1}:
                    raise Fail(f"query: it returns {min(twice)} twice; name one of them with AS")
                rows = result.fetchmany(MAX_ROWS + 1)
                if len(rows) > MAX_ROWS:
                    raise Fail(f"query: it returns more than {MAX_ROWS:,} rows; add LIMIT")
                events = [dict(zip(columns, map(_json, row), strict=True)) for row in rows]
                result.close()
                return events
        except SQLAlchemyError as error:
            # Not `from error`: what a driver says may hold the address, with its password.
            raise self._failure(error) from None

    def _failure(self, error: SQLAlchemyError) -> QueryFailed:
        cause: Any = (error.orig if isinstance(error, DBAPIError) else None) or error
        sqlstate = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
        said = [line.strip() for line in str(cause).splitlines()]
        said = [line for n, line in enumerate(said) if not n or line.startswith(("DETAIL:", "HINT:"))]
        what = " ".join(filter(None, [sqlstate, type(cause).__name__]))
        message = self._address.without_secrets(f"{what}: {' '.join(said)[:1000]}")
        return QueryFailed(f"query on {self._address}: {message}", sqlstate=sqlstate)


def _bindable(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _json(value: Any) -> Any:
    """A column's value as an event can have it.

    Times are ISO 8601, intervals seconds. A Decimal without decimal places is a number, any other is text, so that no digit
    is lost. Bytes are base64. What JSON has no number for is text: "NaN", "Infinity".
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    match value:
        case float():
            return value if math.isfinite(value) else _unbounded(value)
        case Decimal():
            return int(value) if value.is_finite() and value.as_tuple().exponent == 0 else str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(cast("bytes", value)).decode()
        case Mapping():
            return {str(key): _json(item) for key, item in cast("Mapping[Any, Any]", value).items()}
        case list() | tuple() | set() | frozenset():
            return [_json(item) for item in cast("list[Any]", value)]
        case _:  # UUID, network addresses, ranges, enumerations
            return str(value)


def _unbounded(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
