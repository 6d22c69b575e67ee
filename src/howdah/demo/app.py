"""The demo: one task per file, and one task that reports on them. This is all a program needs to write."""

import ast
import hashlib
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass
from importlib.util import decode_source
from pathlib import Path

from psycopg import AsyncConnection

from howdah import App, Context, Fail, Retry
from howdah.demo.report import Proof, write

app = App()  # $HOWDAH_DSN, or else a PostgreSQL of its own in ./.howdah
parser = threading.Lock()  # CPython 3.11: ast.parse in two threads at once may raise SystemError


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
def examine(ctx: Context, run: str, folder: str, path: str, pace: float = 0) -> Facts:
    """Hash, count and parse one file. A plain function: it runs in a thread and leaves the worker free.

    `pace` is how many seconds to take longer: a small folder would be done before a worker could be killed half-way.
    """
    content = (Path(folder) / path).read_bytes()
    text = _text(path, content)
    functions, classes, identifiers = _python(path, text) if path.endswith(".py") else _prose(text)
    time.sleep(pace)

    @ctx.on_commit  # in the transaction that ends this task: this row is written exactly as often as the task ends
    async def remember(conn: AsyncConnection) -> None:  # pyright: ignore[reportUnusedFunction]
        await conn.execute(
            "insert into howdah_demo.result (run, task_id, attempt, path) values (%s, %s, %s, %s)",
            [run, ctx.id, ctx.attempt, path],
        )

    top = dict(identifiers.most_common(20))
    return Facts(
        path, hashlib.sha256(content).hexdigest(), len(content), len(text.splitlines()), functions, classes, top
    )


@app.task(name="demo.report", queue="demo", transactional=True, retry=1)
async def report(ctx: Context, run: str, to: str) -> Proof:
    """Write what became of all files, as Markdown. An async function, inside the transaction that ends the task."""
    return await write(ctx.connection, run, Path(to))


def _text(path: str, content: bytes) -> str:
    try:
        return decode_source(content) if path.endswith(".py") else content.decode()
    except SyntaxError as error:  # of the line that names the encoding
        raise UnicodeError(str(error)) from None


def _python(path: str, text: str) -> tuple[int, int, Counter[str]]:
    try:
        with parser:
            tree = ast.parse(text, filename=path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # No use to try again: Fail parks it at once.
        raise Fail(f"broken syntax: {error}") from error
    functions, classes = 0, 0
    names: Counter[str] = Counter()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                names[name] += 1
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                functions += 1
            case ast.ClassDef():
                classes += 1
            case _:
                pass
    return functions, classes, names


def _prose(text: str) -> tuple[int, int, Counter[str]]:
    return 0, 0, Counter(re.findall(r"[^\W\d]\w{2,}", text))
