"""Options that many commands have, and the client they lead to."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Group, Parameter

from howdah.calls import STATUSES
from howdah.cli.errors import say
from howdah.cli.output import Format
from howdah.errors import CannotConnect, InvalidOption, TaskNotFound

if TYPE_CHECKING:
    from howdah.client import Client
    from howdah.filters import Filter

CHOOSING = Group("Choosing tasks", sort_key=50)
EVERYWHERE = Group("Everywhere", sort_key=99)

Output = Annotated[
    Format | None,
    Parameter(
        name=["--output", "-o"],
        env_var="HOWDAH_OUTPUT",
        group=EVERYWHERE,
        help="table, json, jsonl or ids; without it a table on a terminal and tab-separated text in a pipe",
    ),
]
Queue = Annotated[str | None, Parameter(name=["--queue", "-q"], group=CHOOSING, help="Only this queue")]
Step = Annotated[str | None, Parameter(group=CHOOSING, help="Only those at this step")]
Kind = Annotated[str | None, Parameter(name=["--kind", "-k"], help="Only this kind")]
OfKey = Annotated[str | None, Parameter(name="--key", help="Instead of an id: the task that holds this key")]
Ids = Annotated[str, Parameter(name="ID", allow_leading_hyphen=True, help="Ids of tasks; - reads them from stdin")]


@Parameter(name="*", group=CHOOSING)
@dataclass(frozen=True, slots=True)
class Filters:
    """Which tasks are meant; all that is given must hold."""

    status: Annotated[
        list[str] | None,
        Parameter(
            name=["--status", "-s"], negative="", help=f"Only these: {', '.join(STATUSES)}. Repeat it, or use commas"
        ),
    ] = None
    kind: Kind = None
    key: Annotated[str | None, Parameter(help="Only this key; with a * at its end, all that begin so")] = None
    group: Annotated[str | None, Parameter(help="Only those in this group")] = None
    error: Annotated[str | None, Parameter(help="Only those with this text in their error or reason")] = None
    parent: Annotated[int | None, Parameter(help="Only what this task spawned")] = None
    created_after: Annotated[
        str | None, Parameter(help='Enqueued then or later: "2026-12-01T09:00" or with a zone')
    ] = None
    created_before: Annotated[str | None, Parameter(help="Enqueued before")] = None

    def chosen(self, **more: Any) -> Filter:
        """What was given, and only that. Raises InvalidOption."""
        given = {
            "status": statuses(self.status),
            "kind": self.kind,
            "key": self.key,
            "group": self.group,
            "error": self.error,
            "parent": self.parent,
            "created_after": read_moment(self.created_after, "--created-after"),
            "created_before": read_moment(self.created_before, "--created-before"),
        }
        return cast("Filter", {name: value for name, value in (given | more).items() if value is not None})


ANY = Filters()


@Parameter(name="*", group=EVERYWHERE)
@dataclass(frozen=True, slots=True)
class Where:
    """Which database."""

    dsn: Annotated[
        str | None,
        Parameter(help="The database: a PostgreSQL URL or conninfo [default: $HOWDAH_DSN, configured, else embedded]"),
    ] = None
    debug: Annotated[bool, Parameter(negative="", show_default=False, help="Show the traceback of an error")] = False

    @contextmanager
    def client(self, *, writes: bool = False, creates: bool = False) -> Generator[Client]:
        """A client, closed at the end. `writes` names the target on stderr first.

        Only with `creates` may this be the first that happens in the embedded database: who looks for tasks where there
        never was a database is in the wrong folder.
        """
        from howdah.client import Client

        client = Client(self.dsn)
        if not creates and client.installation.dsn is None and not home().exists():
            raise CannotConnect(
                f"there is no database: {home()} does not exist, and HOWDAH_DSN is not set",
                hint="Go to the folder of your program, give --dsn, or begin with: howdah demo",
            )
        if writes:
            say(f"→ {target(client.installation.dsn)}")
        try:
            yield client
        finally:
            client.close_sync()


ANYWHERE = Where()


def home() -> Path:
    """Where the embedded server lives."""
    from howdah.config import Config

    return Path(Config.read().home or ".howdah").expanduser().resolve()


def target(dsn: str | None) -> str:
    """The database as a person names it, without password."""
    if dsn is None:
        return f"embedded PostgreSQL in {home()}"
    from psycopg.conninfo import conninfo_to_dict

    given = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "local socket"
    port = given.get("port") or os.environ.get("PGPORT") or "5432"
    user = given.get("user") or os.environ.get("PGUSER") or ""
    database = given.get("dbname") or os.environ.get("PGDATABASE") or user or "?"
    if given.get("service"):
        return f"service {given['service']}"
    hosts, ports = host.split(","), port.split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    return (
        ",".join(f"{each}:{number}" for each, number in zip(hosts, (each or "5432" for each in ports), strict=False))
        + f"/{database}"
    )


def statuses(given: Sequence[str] | None) -> list[str] | None:
    """What -s was given. Raises InvalidOption."""
    if not given:
        return None
    names = [name.strip() for each in given for name in each.split(",") if name.strip()]
    for name in names:
        if name not in STATUSES:
            raise InvalidOption(f"there is no status {name!r}", hint=f"One of: {', '.join(STATUSES)}")
    return names


def task_ids(given: Sequence[str]) -> list[int]:
    """The ids that were given, those on stdin included; each once. Raises InvalidOption."""
    words = [word for each in given for word in (sys.stdin.read().split() if each == "-" else [each])]
    refuse_options(words)
    for word in words:
        if not (word.isascii() and word.isdecimal()) or len(word) > 19:
            raise InvalidOption(f"a task id is a whole number, not {word[:80]!r}")
    return list(dict.fromkeys(int(word) for word in words))


def refuse_options(words: Sequence[str]) -> None:
    """Ids may begin with a hyphen only as - for stdin: else it is an option that there is not. Raises InvalidOption."""
    for word in words:
        if word.startswith("-") and word != "-":
            raise InvalidOption(f"there is no option {word[:80]}", hint="See what there is with --help")


def task_or_key(word: str | None, key: str | None, command: str) -> int | None:
    """The one id that was given; None: the key. Raises InvalidOption."""
    if (word is None) is (key is None):
        what = "no task was named" if word is None else "an id and --key were both given"
        raise InvalidOption(what, hint=f"howdah {command} ID, or howdah {command} --key KEY")
    return None if word is None else task_id(word)


def id_of(client: Client, given: int | None, key: str | None) -> int:
    """The id that was given, or that of the task which holds the key. Raises TaskNotFound."""
    if given is not None:
        return given
    task = client.holder_sync(key or "")
    if task is None:
        raise TaskNotFound(f"no task holds key {key!r}", hint=f"Ended ones: howdah ls --key {key}")
    return task.id


def task_id(word: str) -> int:
    """The one id that was given, perhaps on stdin. Raises InvalidOption."""
    ids = task_ids([word])
    if len(ids) != 1:
        raise InvalidOption(f"one id is needed here, not {len(ids)}")
    return ids[0]


def read_moment(text: str | None, option: str = "--at") -> datetime | None:
    """A time as people write it, without a zone the one here. Raises InvalidOption."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidOption(
            f"{option} cannot be read as a time: {text[:80]!r}",
            hint='Write "2026-12-01T09:00", or with a zone: "…T09:00Z"',
        ) from error
    return found.astimezone() if found.tzinfo is None else found
