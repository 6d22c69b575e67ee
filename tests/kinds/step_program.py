"""A worker as a real process: `python step_program.py DSN FOLDER`. Each step writes its name into a file of the folder."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from howdah import App, Context, Done

app = App(sys.argv[1] if len(sys.argv) > 1 else None)
relay = app.machine("relay")


@relay.step
@dataclass
class Start:
    folder: str

    async def run(self, ctx: Context) -> Middle:
        note(self.folder, "Start")
        return Middle(self.folder)


@relay.step
@dataclass
class Middle:
    """Waits for the file `gate`."""

    folder: str

    async def run(self, ctx: Context) -> Finish:
        note(self.folder, "Middle")
        while not Path(self.folder, "gate").exists():  # noqa: ASYNC110, ASYNC240  (another process opens it)
            await asyncio.sleep(0.02)
        return Finish(self.folder)


@relay.step
@dataclass
class Finish:
    folder: str

    async def run(self) -> Done:
        note(self.folder, "Finish")
        return Done("there")


def note(folder: str, word: str) -> None:
    with Path(folder, "ran").open("a") as file:
        file.write(f"{word}\n")


async def main() -> None:
    await app.worker(lease="1s", poll="100ms").run(signals=True)
    await app.close()


if __name__ == "__main__":
    asyncio.run(main())
