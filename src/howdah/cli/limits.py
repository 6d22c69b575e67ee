"""Commands for limits: limits, set-limit, unset-limit, close-group, open-group, set-queue."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from howdah.cli.errors import NOT_FOUND, OK, say, say_error
from howdah.cli.options import ANYWHERE, Output, Where
from howdah.cli.output import Column, Row, for_people, print_rows
from howdah.client import Client
from howdah.durations import optional_duration
from howdah.errors import InvalidOption

Name = Annotated[
    str, Parameter(name="NAME", help="The name of a group, or with * the rule for all that match: 'tenant:*'")
]
Group = Annotated[str, Parameter(name="GROUP", help="The name of a group")]


def _rate(row: Row) -> str | None:
    return None if row["rate"] is None else f"{row['rate']}, {row['burst']:g} at once"


def _note(row: Row) -> str:
    closed = ""
    if row["closed_until"] is not None:
        closed = f"closed until {row['closed_until']:%Y-%m-%d %H:%M:%S %Z} by {row['closed_by']}"
        closed += f": {row['closed_reason']}" if row["closed_reason"] else ""
    return "; ".join(part for part in (closed, f"as {row['rule']}" if row["rule"] else "") if part)


_COLUMNS = (
    Column.of("name"),
    Column("at once", lambda row: row["max_running"], right=True),
    Column("rate", _rate),
    Column.of("running", right=True),
    Column.of("waiting", right=True),
    Column("oldest", lambda row: row["oldest_due"]),
    Column("note", _note, wide=True),
)


def limits(*, output: Output = None, where: Where = ANYWHERE) -> None:
    """List limits, and the groups whose tasks were started, with what runs and waits in them."""
    with where.client() as client:
        found = sorted(client.groups_sync(), key=lambda row: row["name"])
    print_rows(found, _COLUMNS, output, key="name")
    if not found and for_people(output):
        say("no group has a limit; set one: howdah set-limit SES --running 10")


def set_limit(
    name: Name,
    /,
    *,
    running: Annotated[int | None, Parameter(help="At most so many of its tasks run at once; 0: no limit")] = None,
    rate: Annotated[
        str | None, Parameter(help="At most so much starts per time: 100/min, 5/s, 20/30s; none: no limit")
    ] = None,
    burst: Annotated[float | None, Parameter(help="So much of the rate at once, after a rest")] = None,
    where: Where = ANYWHERE,
) -> None:
    """Limit a group in the whole fleet, from now on. What is left out stays as it is; what runs goes on."""
    if running is None and rate is None and burst is None and "*" in name:
        raise InvalidOption("neither --running nor --rate was given", hint="Give what is to be limited")
    with where.client(writes=True, creates=True) as client:
        client.set_limit_sync(name, running=running, rate=rate, burst=burst)
        say(_said(client, name))


def _said(client: Client, name: str) -> str:
    row = next(row for row in client.groups_sync() if row["name"] == name)
    at_once = f"at most {row['max_running']:,} run at once" if row["max_running"] else "any number may run at once"
    return f"{name}: {at_once}, " + (f"{_rate(row)}" if row["rate"] else "at any rate")


def unset_limit(name: Name, /, *, where: Where = ANYWHERE) -> int:
    """Take a limit away. A group falls back to the rule with * that matches it."""
    with where.client(writes=True) as client:
        if client.unset_limit_sync(name):
            say(f"{name} has no limit of its own any more")
            return OK
    say_error(f"{name} has no limit of its own", hint="See: howdah limits")
    return NOT_FOUND


def close_group(
    group: Group,
    /,
    *,
    length: Annotated[
        str | None, Parameter(name="--for", help="How long, such as 10m [default: until open-group]")
    ] = None,
    reason: Annotated[str | None, Parameter(help="Why; `howdah why` and `howdah limits` say it")] = None,
    where: Where = ANYWHERE,
) -> None:
    """Start no more tasks of a group, in the whole fleet. Running ones go on."""
    optional_duration(length, "--for")
    with where.client(writes=True, creates=True) as client:
        client.close_group_sync(group, length, reason=reason)
    say(f"group {group} is closed" + (f" for {length}" if length else f"; open it: howdah open-group {group}"))


def open_group(group: Group, /, *, where: Where = ANYWHERE) -> None:
    """Undo close-group, or what a handler's RateLimited has closed."""
    with where.client(writes=True) as client:
        opened = client.open_group_sync(group)
    say(f"group {group} goes on" if opened else f"group {group} was not closed")


def set_queue(
    queue: Annotated[str, Parameter(name="QUEUE", help="The name of a queue")],
    /,
    *,
    running: Annotated[int | None, Parameter(help="At most so many of its tasks run at once; 0: no limit")] = None,
    fair: Annotated[
        bool | None, Parameter(negative="--no-fair", help="Its groups take turns, within a priority")
    ] = None,
    ageing: Annotated[
        str | None, Parameter(help="A task counts one priority higher for each such time that it has waited; 0: never")
    ] = None,
    where: Where = ANYWHERE,
) -> None:
    """Say how a queue is worked in the whole fleet, from now on. What is left out stays as it is."""
    if running is None and fair is None and ageing is None:
        raise InvalidOption("none of --running, --fair and --ageing was given", hint="Give what is to be changed")
    with where.client(writes=True, creates=True) as client:
        client.set_queue_sync(queue, running=running, fair=fair, ageing=ageing)
        row = next(row for row in client.queues_sync() if row["name"] == queue)
    at_once = f"at most {row['max_running']:,} run at once" if row["max_running"] else "any number may run at once"
    turns = "its groups take turns" if row["fair"] else "the oldest task is first"
    say(f"queue {queue}: {at_once}, {turns}" + (f", ageing by {row['ageing']}" if row["ageing"] else ""))
