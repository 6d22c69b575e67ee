"""The demo: a task per file, an actor that counts them, a machine that reports. This is all a program needs to write."""

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from psycopg import AsyncConnection

from howdah import Action, App, Context, Done, Inbox, Retry, Snooze, Suspend, after
from howdah.demo.reading import read
from howdah.demo.report import write

app = App()  # $HOWDAH_DSN, or else a PostgreSQL of its own in ./.howdah


@dataclass
class Facts:
    """What there is to know about one file: the result of its task."""

    path: str
    sha256: str
    bytes: int
    lines: int
    functions: int
    classes: int
    identifiers: dict[str, int]


# A file may be unreadable because somebody is writing it: two more tries, then the task is parked with its error.
@app.task(name="demo.file", queue="demo", retry=Retry(2, delay="200ms", factor=1), timeout="60s")
def examine(ctx: Context, run: str, folder: str, path: str, tally: int, pace: float = 0) -> Facts:
    """Hash, count and parse one file. A plain function: it runs in a thread and leaves the worker free.

    `tally` is the actor that is told of it. `pace` is how many seconds to take longer: a small folder would be done before
    a worker could be killed half-way.
    """
    content = (Path(folder) / path).read_bytes()
    text, functions, classes, identifiers = read(path, content)
    time.sleep(pace)

    @ctx.on_commit  # in the transaction that ends this task: this row is written exactly as often as the task ends
    async def remember(conn: AsyncConnection) -> None:  # pyright: ignore[reportUnusedFunction]
        await conn.execute(
            "insert into howdah_demo.result (run, task_id, attempt, path) values (%s, %s, %s, %s)",
            [run, ctx.id, ctx.attempt, path],
        )

    top = dict(identifiers.most_common(20))
    lines = len(text.splitlines())
    ctx.send(tally, Examined(len(content), lines))  # in the same transaction: counted exactly as often as it ends
    return Facts(path, hashlib.sha256(content).hexdigest(), len(content), lines, functions, classes, top)


# ── an actor: its fields are its state, which is stored with every poll ──


@dataclass
class Examined:
    """A message to the tally: one more file."""

    bytes: int
    lines: int


@dataclass
class Close:
    """A message to the tally: no more files."""


@app.actor("demo.tally", inbox=Examined | Close, queue="demo", priority=1)
@dataclass
class Tally:
    """Adds up what the tasks of the files send."""

    run_id: str
    files: int = 0
    bytes: int = 0
    lines: int = 0

    async def poll(self, ctx: Context, inbox: Inbox[Examined | Close]) -> Action:
        for message in inbox:
            if isinstance(message, Close):
                return Done({"files": self.files, "bytes": self.bytes, "lines": self.lines})
            self.files += 1
            self.bytes += message.bytes
            self.lines += message.lines
        return Suspend()


# ── a state machine: it waits for the files without holding a worker, and then reports ──

report = app.machine("demo.report", queue="demo", priority=1, retry=Retry(5, delay="200ms"))


@report.step
@dataclass
class Wait:
    """Until no file is left."""

    run_id: str
    to: str
    tally: int

    async def run(self, ctx: Context) -> "Wait | Write":
        async with app.transaction() as conn:
            query = "select queued + running as left from howdah_demo.progress where run = %s"
            row = await (await conn.execute(query, [self.run_id])).fetchone()
        if row is not None and row["left"]:
            return after("500ms", Wait(self.run_id, self.to, self.tally))
        ctx.send(self.tally, Close())
        return Write(self.run_id, self.to, self.tally)


@report.step(transactional=True)
@dataclass
class Write:
    """What became of all files, as Markdown: inside the transaction that ends the task."""

    run_id: str
    to: str
    tally: int

    async def run(self, ctx: Context) -> Snooze | Done:
        query = "select from howdah.archive where id = %s"
        if await (await ctx.connection.execute(query, [self.tally])).fetchone() is None:
            return Snooze("100ms")  # it has not read the last message yet
        return Done(asdict(await write(ctx.connection, self.run_id, Path(self.to))))
