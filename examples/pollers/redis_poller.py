"""A poller over Redis: python examples/pollers/redis_poller.py

A list of user ids waits in Redis; what is being worked on is in a hash, with the time it began. The poll moves ids from one to
the other in a script, so that two programs never take the same; a listener that ends takes its id out of the hash.

Uses $REDIS_URL, or a redis-server of its own on a free port of this machine.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from howdah.backoff import Backoff
from howdah.poller import ErrorEvent, Poll, Poller, TaskEvent

USERS = 20
# One step for Redis: nobody sees an id that is in neither place.
TAKE = """
local taken = {}
for _ = 1, tonumber(ARGV[1]) do
  local id = redis.call('LPOP', KEYS[1])
  if not id then break end
  redis.call('HSET', KEYS[2], id, redis.call('TIME')[1])
  table.insert(taken, id)
end
return taken
"""


class Store:
    """The ids that wait, are in hand and are done, under a prefix of their own."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self.redis = redis
        self.waiting, self.in_hand, self.done = (f"{prefix}:{part}" for part in ("waiting", "in_hand", "done"))

    async def active(self) -> list[str]:
        return await self.redis.hkeys(self.in_hand)

    async def poll(self, poll: Poll[str]) -> list[str]:
        return await self.redis.eval(TAKE, 2, self.waiting, self.in_hand, str(poll.limit))

    async def finish(self, user: str) -> int:
        """Take it out of the hand; how many are done."""
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.hdel(self.in_hand, user).sadd(self.done, user).scard(self.done)
            return (await pipe.execute())[-1]

    async def forget(self) -> None:
        await self.redis.delete(self.waiting, self.in_hand, self.done)


async def main(url: str) -> None:
    async with Redis.from_url(url, decode_responses=True) as redis:
        store = Store(redis, f"howdah-example-{os.getpid()}")
        await redis.rpush(store.waiting, *map(str, range(1, USERS + 1)))
        all_done = asyncio.Event()
        most = 0

        # The store knows what is live, also when this program is restarted or runs twice.
        poller = Poller(
            "greet_user", store.poll, active=store.active, concurrency=4, delay=Backoff("5ms", factor=2, max="50ms")
        )

        @poller.on("task")
        async def greet(event: TaskEvent[str]) -> None:
            nonlocal most
            most = max(most, await redis.hlen(store.in_hand))
            await asyncio.sleep(0.02)
            print(f"greeted user {event.instruction}")
            if await store.finish(event.instruction) == USERS:
                all_done.set()

        @poller.on("error")
        def report(event: ErrorEvent) -> None:
            print(f"error: {event.error!r}")

        try:
            async with poller:
                await all_done.wait()
            print(
                f"{await redis.scard(store.done)} greeted, at most {most} at a time; "
                f"{await redis.llen(store.waiting)} waiting, {await redis.hlen(store.in_hand)} in hand"
            )
        finally:
            await store.forget()


@contextmanager
def own_server() -> Iterator[str]:
    """A redis-server that keeps nothing and ends with this program."""
    binary = shutil.which("redis-server")
    if binary is None:
        print("no redis-server here: apt install redis-server, or set REDIS_URL=redis://host:6379", file=sys.stderr)
        sys.exit(2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            url = f"redis://127.0.0.1:{port}"
            asyncio.run(answer(url, server))
            yield url
        finally:
            server.terminate()
            server.wait()


async def answer(url: str, server: "subprocess.Popen[bytes]") -> None:
    async with asyncio.timeout(10), Redis.from_url(url) as redis:
        while server.poll() is None:
            try:
                await redis.ping()
                return
            except ConnectionError:
                await asyncio.sleep(0.02)
    sys.exit(f"redis-server ended with {server.returncode} before it answered")


if __name__ == "__main__":
    if given := os.environ.get("REDIS_URL"):
        asyncio.run(main(given))
    else:
        with own_server() as url:
            asyncio.run(main(url))
