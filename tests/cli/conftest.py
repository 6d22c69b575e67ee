"""The real program in a folder with a tasks.py, against a database of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import servers
from cli.shells import Shell
from howdah import Client
from waiting import until_sync

TASKS = '''
import asyncio
from howdah import App, Context, Retry

app = App()


@app.task(queue="mail", retry=0)
async def welcome(user_id: int) -> str:
    return f"sent to {user_id}"


@app.task(retry=0)
async def broken(word: str = "no") -> None:
    raise ValueError(f"{word} such \\x1b[31mfile\\x1b[0m [bold]")


@app.task(retry=0)
async def patient(ctx: Context, word: str = "go on") -> str:
    """Until somebody writes this word into the file `said`."""
    from pathlib import Path

    ctx.progress(1, 4, "listening")
    while not Path("said").exists() or Path("said").read_text() != word:
        await asyncio.sleep(0.01)
    return word
'''


@pytest.fixture(scope="session")
def server() -> Iterator[servers.Server]:
    """One is enough: to the shell all PostgreSQL are alike, and the rest of the tests run on each."""
    running = next(iter(servers.available().values()))()
    yield running
    running.stop()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """In a folder with a tasks.py, and no database."""
    (tmp_path / "tasks.py").write_text(TASKS)
    return Shell(tmp_path)


@pytest.fixture
def howdah(shell: Shell, dsn: str) -> Shell:
    """In a folder with a tasks.py, with HOWDAH_DSN set."""
    shell.variables["HOWDAH_DSN"] = dsn
    return shell


@pytest.fixture
def client(dsn: str) -> Iterator[Client]:
    opened = Client(dsn)
    yield opened
    opened.close_sync()


@pytest.fixture
def workers_alive(client: Client) -> Callable[[int], list[dict[str, Any]]]:
    """Wait until so many workers live, and return them."""

    def wait(count: int) -> list[dict[str, Any]]:
        def living() -> list[dict[str, Any]]:
            return [row for row in client.workers_sync() if row["state"] in ("idle", "busy")]

        until_sync(lambda: len(living()) == count, f"{count} workers to live")
        return living()

    return wait
