"""Actors that spawn actors: python examples/fibonacci.py [N]

Each call of Fibonacci(n) is a task. It spawns two children, n - 1 and n - 2, and adds what they reply. A fifth of all polls
fail at random, three workers share the work, and one of them is killed half-way: the answer is right, and at the end no task
and no message is left.
"""

import asyncio
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from howdah import EOF, Action, App, Context, Done, Inbox, Retry, Suspend

app = App()  # $HOWDAH_DSN, or an embedded PostgreSQL in .howdah/
FAILING = 0.2


@app.actor("fibonacci", inbox=int | EOF, retry=Retry(1000, delay="10ms", factor=1))
@dataclass
class Fibonacci:
    n: int = -1
    total: int = 0
    ended: int = 0

    async def poll(self, ctx: Context, inbox: Inbox[int | EOF]) -> Action:
        for message in inbox:
            if isinstance(message, EOF):
                self.ended += 1
            elif self.n < 0:  # the first message: which number
                self.n = message
                if self.n >= 2:
                    await ctx.spawn(Fibonacci, self.n - 1)
                    await ctx.spawn(Fibonacci, self.n - 2)
            else:  # a child's reply
                self.total += message
        if random.random() < FAILING:
            raise ConnectionError("bad luck")  # nothing of this poll happened: no children, no messages, no state
        if self.n < 0 or (self.n >= 2 and self.ended < 2):
            return Suspend()
        result = self.n if self.n < 2 else self.total
        if ctx.parent is not None:
            ctx.reply(result)
        return Done(result)


def start_worker() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "worker", app.dsn])


async def count(question: str) -> int:
    async with app.transaction() as conn:
        row: Any = await (await conn.execute(question.encode())).fetchone()
        return next(iter(row.values()))


async def main(n: int = 10) -> None:
    async with app:
        before = await count("SELECT count(*) FROM howdah.archive WHERE kind = 'fibonacci'")
        task = await Fibonacci.enqueue()
        await task.send(n)
        # Usually that is `howdah worker examples/fibonacci.py:app`, on as many machines as you like.
        workers = [start_worker() for _ in range(3)]
        try:
            ended = "SELECT count(*) FROM howdah.archive WHERE kind = 'fibonacci'"
            while await count(ended) < before + n:  # noqa: ASYNC110  (other processes do the work)
                await asyncio.sleep(0.01)
            workers[0].send_signal(signal.SIGKILL)
            result = await task.result(timeout="2m")
        finally:
            for worker in workers:
                worker.terminate()
            codes = [worker.wait() for worker in workers]
        print(f"fibonacci({n}) = {result}")
        calls = await count("SELECT count(*) FROM howdah.archive WHERE kind = 'fibonacci'") - before
        failed = await count("SELECT count(*) FROM howdah.event WHERE kind = 'fibonacci' AND type = 'retry'")
        tasks = await count("SELECT count(*) FROM howdah.task WHERE kind = 'fibonacci'")
        messages = await count("SELECT count(*) FROM howdah.message")
        print(f"{calls} calls, {failed} polls failed, worker 1 killed (exit code {codes[0]})")
        print(f"left behind: {tasks} tasks, {messages} messages")


async def work(dsn: str) -> None:
    app.installation = App(dsn).installation
    async with app:
        await app.worker(lease="3s", poll="200ms").run(signals=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        asyncio.run(work(sys.argv[2]))
    else:
        asyncio.run(main(*map(int, sys.argv[1:])))
