"""Groups and queues from Python: declared in code, changed while it works, closed by a handler."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from howdah import EOF, Action, App, Context, Done, Inbox, RateLimited, Suspend
from howdah.errors import InvalidOption, InvalidPayload
from waiting import until


async def test_what_is_declared_holds_and_a_handler_closes_its_group_for_all(app: App) -> None:
    app.limit("API", rate="1000/s")
    tries: list[tuple[int, int]] = []
    closed = True

    @app.task(group="API", retry=0)
    async def call(n: int, ctx: Context) -> int:
        tries.append((n, ctx.attempt))
        if closed:
            raise RateLimited(retry_after="1h", reason="429")
        return n

    @app.task()
    async def other() -> str:
        return "free"

    async def closed_groups() -> list[str]:
        return [row["name"] for row in await app.groups() if row["closed_until"]]

    first = await call.enqueue(1)
    async with app.worker():
        await until(closed_groups)
        second = await call.enqueue(2)
        assert await (await other.enqueue()).result("20s") == "free"
        assert [reason.code for reason in await second.why()] == ["group closed"]
        (row,) = [row for row in await app.groups() if row["name"] == "API"]
        assert (row["closed_reason"], row["closed_by"], row["waiting"]) == ("429", f"task {first.id}", 2)
        closed = False
        assert await app.open_group("API")
        assert [await first.result("20s"), await second.result("20s")] == [1, 2]
    # It spent no attempt, and the first is first again.
    assert tries == [(1, 1), (1, 1), (2, 1)]


async def test_with_one_place_the_tasks_of_a_tenant_go_one_after_the_other(app: App) -> None:
    app.limit("tenant:*", running=1)
    inside: dict[str, int] = {}
    order: dict[str, list[int]] = {"a": [], "b": []}

    @app.task(group="tenant:{tenant}")
    async def work(tenant: str, n: int) -> None:
        assert inside.setdefault(tenant, 0) == 0
        inside[tenant] += 1
        await asyncio.sleep(0)
        order[tenant].append(n)
        inside[tenant] -= 1

    for n in range(30):
        await work.enqueue("ab"[n % 2], n)
    await app.worker(until_idle=True).run()
    assert order == {"a": list(range(0, 30, 2)), "b": list(range(1, 30, 2))}
    assert not await app.tasks(status=["failed"])


async def test_a_worker_until_idle_waits_for_what_the_rate_holds_back(app: App) -> None:
    app.limit("API", rate="20/s", burst=2)
    done: list[int] = []

    @app.task(group="API")
    async def call(n: int) -> None:
        done.append(n)

    for n in range(8):
        await call.enqueue(n)
    await app.worker(until_idle=True).run()
    assert done == list(range(8))


async def test_groups_of_machines_and_actors(app: App) -> None:
    app.limit("narrow", running=1)
    inside = 0
    machine = app.machine("machine", group="narrow")

    @machine.step
    @dataclass
    class Step:
        left: int

        async def run(self) -> Step | Done:
            nonlocal inside
            assert inside == 0
            inside += 1
            await asyncio.sleep(0)
            inside -= 1
            return Step(self.left - 1) if self.left else Done("end")

    @app.actor("counter", inbox=int | EOF, group="narrow")
    @dataclass
    class Counter:
        total: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int | EOF]) -> Action:
            nonlocal inside
            assert inside == 0
            inside += 1
            await asyncio.sleep(0)
            inside -= 1
            self.total += sum(message for message in inbox if isinstance(message, int))
            return Done(self.total) if self.total >= 3 else Suspend()

    machines = [await machine.enqueue(Step(3)) for _ in range(4)]
    counters = [await Counter.enqueue() for _ in range(4)]  # type: ignore[attr-defined]
    async with app.worker():
        for counter in counters:
            for _ in range(3):
                await counter.send(1)
        assert [await task.result("20s") for task in machines] == ["end"] * 4
        assert [await task.result("20s") for task in counters] == [3] * 4
    assert not await app.tasks(status=["failed"])


async def test_who_has_which_groups(app: App, conn: psycopg.Connection) -> None:
    @app.task(group=["SES", "tenant:{tenant}"], cost=2)
    async def mail(tenant: int) -> None: ...

    @app.task(group="SES")
    async def plain(n: int) -> None: ...

    made: dict[str, Any] = {}

    @app.task()
    async def parent(ctx: Context) -> None:
        made["spawned"] = await ctx.spawn(mail, 3)
        made["enqueued"] = await ctx.enqueue(mail.using(group="x", cost=7), 3)
        made["named"] = await ctx.enqueue_named("mail", {"tenant": 4})

    made["enqueued one"] = (await mail.enqueue(7)).id
    made["other"] = (await mail.using(group=["b", "a"]).enqueue(7)).id
    made["none"] = (await mail.using(group=()).enqueue(7)).id
    made["by name"] = (await app.enqueue("mail", tenant=8)).id
    made["copied"] = (await plain.enqueue_many([(1,), (2,)]))[1].id
    await parent.enqueue()
    async with app.worker(queues=["default"]):
        await until(lambda: len(made) == 8)
        await until(lambda: conn.execute("select 1 from howdah.tasks where id = %s", [made["named"]]).fetchone())
    found = {name: (await app.show(made[name])) for name in made}
    assert {name: (info.groups, info.cost) for name, info in found.items()} == {
        "enqueued one": (["SES", "tenant:7"], 2),
        "other": (["a", "b"], 2),
        "none": (None, 2),
        "by name": (["SES", "tenant:8"], 2),
        "copied": (["SES"], None),
        "spawned": (["SES", "tenant:3"], 2),
        "enqueued": (["x"], 7),
        "named": (["SES", "tenant:4"], 2),
    }


def test_every_verb_has_its_blocking_twin(app: App) -> None:
    app.set_limit_sync("SES", running=3, rate="10/min")
    app.set_queue_sync("mail", running=5, fair=True, ageing="1m")
    app.close_group_sync("SES", "1h", reason="x")
    (row,) = app.groups_sync()
    assert (row["max_running"], row["rate"], row["burst"], row["closed_reason"]) == (3, "10/min", 1, "x")
    (queue,) = app.queues_sync()
    assert (queue["max_running"], queue["fair"], queue["ageing"].total_seconds()) == (5, True, 60)
    assert (app.open_group_sync("SES"), app.open_group_sync("SES")) == (True, False)
    assert (app.unset_limit_sync("SES"), app.unset_limit_sync("SES")) == (True, False)
    app.set_queue_sync("mail", running=0, fair=False, ageing=0)
    (queue,) = app.queues_sync()
    assert (queue["max_running"], queue["fair"], queue["ageing"]) == (None, False, None)


@pytest.mark.parametrize(
    ("verb", "arguments", "options", "says"),
    [
        ("limit", ("",), {"running": 1}, "the name of a limit must be text of 1 to 200 characters"),
        ("limit", ("x",), {"running": 0}, "running must be a whole number from 1, not 0"),
        ("limit", ("x",), {"running": True}, "running must be a whole number from 1, not True"),
        ("limit", ("x",), {"rate": "10"}, "rate cannot be read: '10'"),
        ("limit", ("x",), {"rate": "0/s"}, "rate cannot be read: '0/s'"),
        ("limit", ("x",), {"rate": 10}, "rate cannot be read: 10"),
        ("limit", ("x",), {"rate": "1/s", "burst": 0}, "burst must be a number above 0, not 0"),
        ("queue", ("x",), {"ageing": 0}, "ageing must be longer than nothing"),
        ("queue", ("x",), {"fair": "yes"}, "fair must be True or False, not 'yes'"),
        ("task", (), {"group": "a*"}, "group 'a*' has a * in it"),
        ("task", (), {"group": "{"}, "group '{' has a brace that stands for nothing"),
        ("task", (), {"group": ["x"] * 21}, "group must be at most 20 names, not 21"),
        ("task", (), {"group": 5}, "group must be text of 1 to 200 characters, not 5"),
        ("task", (), {"cost": -1}, "cost must be a number from 0, not -1"),
        ("task", (), {"warn": {"weight": 1}}, "warn has no threshold 'weight'"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(verb: str, arguments: tuple[Any, ...], options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        getattr(App("postgresql://nowhere"), verb)(*arguments, **options)
    assert says in str(caught.value)


def test_a_limit_is_declared_once() -> None:
    app = App("postgresql://nowhere")
    app.limit("SES", running=1)
    app.limit("SES", running=1)
    with pytest.raises(InvalidOption, match="two limits of 'SES' are declared"):
        app.limit("SES", running=2)


async def test_a_field_that_makes_no_name_is_an_error_of_the_payload(app: App) -> None:
    @app.task(group="tenant:{tenant}")
    async def work(tenant: int | None) -> None: ...

    with pytest.raises(
        InvalidPayload, match=r"tenant of the payload is None, and the group tenant:{tenant} is made of it"
    ):
        await work.enqueue(None)
    assert not await app.tasks()


async def test_what_an_operator_set_stays_when_a_worker_starts_again(app: App) -> None:
    app.limit("SES", running=10)

    @app.task(group="SES")
    async def work() -> None: ...

    await app.worker(until_idle=True).run()
    await app.set_limit("SES", running=1)
    await app.worker(until_idle=True).run()
    assert [row["max_running"] for row in await app.groups()] == [1]


@pytest.mark.parametrize("options", [{"fair": "maybe"}, {"running": False}, {"running": -1}, {"ageing": "soon"}])
async def test_a_queue_is_set_to_nothing_that_cannot_be_meant(app: App, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        await app.set_queue("mail", **options)
    assert await app.queues() == []
