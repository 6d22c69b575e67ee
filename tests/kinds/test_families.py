"""Functions that spawn others and wait for them, without holding a worker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from howdah import Action, Again, App, Cancel, Context, Done, Fail, Inbox, Join, Retry, Snooze, Task
from howdah.errors import TaskCancelled, TaskFailed, WrongStatus
from kinds.process_steps import serve
from kinds.standing import asleep, events, stands
from waiting import until


@pytest.fixture
def square(app: App) -> Any:
    @app.task(retry=0)
    async def square(n: int) -> int:
        return n * n

    return square


@pytest.fixture
def hold(app: App) -> Any:
    """Runs until `hold.release` is set."""

    @app.task()
    async def hold(n: int) -> int:
        await release.wait()
        return n

    release = hold.release = asyncio.Event()  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    return hold


# ── join ──


async def test_a_function_waits_for_its_children_and_has_their_results_in_order(app: App, square: Any) -> None:
    seen: list[tuple[int, int, str]] = []

    @app.task()
    async def total(ctx: Context, numbers: list[int], spawned: bool = False) -> list[int] | Join:
        seen.append((ctx.attempt, len(ctx.children), ctx.idempotency_key))
        if not spawned:
            for n in numbers:
                await ctx.spawn(square.using(priority=n), n)  # the last begins first
            return Join(numbers, spawned=True)
        assert [child.succeeded for child in ctx.children] == [True] * len(numbers)
        return [child.result for child in ctx.children]

    task = await total.enqueue([1, 2, 3, 4])
    async with app.worker(concurrency=1):
        assert await task.result("20s") == [1, 4, 9, 16]
    assert [(attempt, children) for attempt, children, _ in seen] == [(1, 0), (1, 4)]
    assert seen[0][2] != seen[1][2]
    info = await task.info()
    assert (info.status, info.payload) == ("succeeded", {"numbers": [1, 2, 3, 4], "spawned": True})


async def test_a_plain_function_spawns_from_its_thread(app: App, square: Any) -> None:
    @app.task()
    def total(ctx: Context, spawned: bool = False) -> int | Join:
        if spawned:
            return sum(child.result for child in ctx.children)
        for n in (1, 2, 3):
            ctx.spawn_sync(square, n)
        raise Join(spawned=True)

    task = await total.enqueue()
    async with app.worker():
        assert await task.result("20s") == 14


async def test_parked_and_cancelled_children_count_as_ended_and_say_why(app: App) -> None:
    @app.task(retry=0)
    async def child(how: str) -> str:
        if how == "fail":
            raise Fail("no such file")
        if how == "raise":
            raise OSError("broken")
        if how == "cancel":
            raise Cancel("not wanted")
        return how

    @app.task()
    async def parent(ctx: Context) -> list[Any] | Join:
        if ctx.children:
            return [[child.status, child.result, child.error] for child in ctx.children]
        for how in ("well", "fail", "raise", "cancel"):
            await ctx.spawn(child, how)
        return Join()

    task = await parent.enqueue()
    async with app.worker():
        assert await task.result("20s") == [
            ["succeeded", "well", None],
            ["failed", None, "no such file"],
            ["failed", None, "OSError: broken"],
            ["cancelled", None, "not wanted"],
        ]


async def test_a_join_without_children_goes_on_at_once(app: App) -> None:
    @app.task()
    async def alone(ctx: Context, joined: bool = False) -> str | Join:
        return f"{len(ctx.children)} children" if joined else Join(joined=True)

    task = await alone.enqueue()
    async with app.worker():
        assert await task.result("20s") == "0 children"


async def test_a_join_without_arguments_keeps_the_payload(app: App, square: Any) -> None:
    @app.task()
    async def parent(ctx: Context, n: int) -> int | Join:
        if ctx.children:
            return n + ctx.children[0].result
        await ctx.spawn(square, n)
        return Join()

    task = await parent.enqueue(5)
    async with app.worker():
        assert await task.result("20s") == 30


async def test_arguments_of_a_join_that_do_not_fit_park_it(app: App, square: Any) -> None:
    @app.task(retry=5)
    async def parent(ctx: Context, n: int) -> Join:
        await ctx.spawn(square, n)
        return Join("five")

    task = await parent.enqueue(5)
    async with app.worker():
        with pytest.raises(TaskFailed, match="parent: n: expected int, got str"):
            await task.result("20s")
    assert (await task.info()).attempt == 1
    assert await app.tasks(parent=task.id) == []


async def test_a_second_join_has_the_new_children_alone(app: App, square: Any) -> None:
    @app.task()
    async def rounds(ctx: Context, n: int = 0, results: list[Any] | None = None) -> list[Any] | Join:
        results = results or []
        if n:
            results.append([child.result for child in ctx.children])
        if n == 3:
            return results
        for m in range(n + 1):
            await ctx.spawn(square, 10 * n + m)
        return Join(n + 1, results)

    task = await rounds.enqueue()
    async with app.worker():
        assert await task.result("20s") == [[0], [100, 121], [400, 441, 484]]


async def test_a_failure_after_the_join_is_retried_with_the_same_children(app: App, square: Any) -> None:
    seen: list[list[int]] = []

    @app.task(retry=Retry(1, delay="1ms"))
    async def parent(ctx: Context, spawned: bool = False) -> Any:
        if not spawned:
            for n in (2, 3):
                await ctx.spawn(square, n)
            return Join(spawned=True)
        seen.append([child.result for child in ctx.children])
        match len(seen):
            case 1:
                return Snooze("1ms")
            case 2 | 3:
                await ctx.spawn(square, 100)  # undone with the attempt
                raise OSError("not yet")
            case 4:
                return Again(spawned=True)
            case _:
                return "done"

    task = await parent.enqueue()
    async with app.worker():
        await stands(task, "failed")
        await task.retry()
        assert await task.result("20s") == "done"
    assert seen == [[4, 9]] * 4 + [[]]
    assert len(await app.tasks(parent=task.id)) == 2


async def test_more_children_than_one_page(app: App, square: Any) -> None:
    @app.task()
    async def total(ctx: Context, spawned: bool = False) -> Any:
        if spawned:
            return [len(ctx.children), sum(child.result for child in ctx.children)]
        ids = [await ctx.spawn(square, n) for n in range(2000)]
        assert ids == sorted(set(ids))
        return Join(spawned=True)

    task = await total.enqueue()
    async with app.worker():
        assert await task.result("60s") == [2000, sum(n * n for n in range(2000))]


async def test_a_family_of_three_generations(app: App) -> None:
    @app.task()
    async def tree(ctx: Context, depth: int, spawned: bool = False) -> Any:
        if spawned:
            return 1 + sum(child.result for child in ctx.children)
        if depth:
            for _ in range(3):
                await ctx.spawn(tree, depth - 1)
        return Join(depth, spawned=True)

    task = await tree.enqueue(3)
    async with app.worker(concurrency=2):
        assert await task.result("30s") == 1 + 3 + 9 + 27


# ── while it waits ──


async def test_the_parent_holds_no_worker_while_it_waits(app: App, hold: Any) -> None:
    @app.task()
    async def parent(ctx: Context) -> int | Join:
        if ctx.children:
            return sum(child.result for child in ctx.children)
        for n in (1, 2):
            await ctx.spawn(hold, n)
        return Join()

    task = await parent.enqueue()
    async with app.worker(concurrency=2):
        info = await stands(task, "suspended")
        assert (info.children, info.worker, info.attempt, info.run_at) == (2, None, 0, None)

        async def both_run() -> bool:
            return [child.status for child in await app.tasks(parent=task.id)] == ["running"] * 2

        await until(both_run, "both children to run in the only two slots")
        (reason,) = await task.why()
        assert (reason.code, reason.reason) == ("joining", "It waits for 2 of its children to end")
        with pytest.raises(WrongStatus, match=f"task {task.id} waits for 2 of its children. It goes on by itself"):
            await task.retry()
        hold.release.set()
        assert await task.result("20s") == 3
    (first, second) = sorted(await app.tasks(parent=task.id), key=lambda child: child.id)
    assert (first.parent, second.parent, first.children) == (task.id, task.id, 0)
    assert (await task.info()).children == 0


@pytest.mark.usefixtures("looks_only_when_told")
async def test_the_last_child_wakes_the_parent_at_once(app: App, hold: Any) -> None:
    @app.task(queue="parents")
    async def parent(ctx: Context) -> int | Join:
        if ctx.children:
            return len(ctx.children)
        for n in (1, 2):
            await ctx.spawn(hold, n)
        return Join()

    async with app.worker(queues=["parents"], poll="1h"), app.worker(queues=["default"], poll="1h"):
        await asleep(app)
        task = await parent.enqueue()
        await stands(task, "suspended")
        hold.release.set()
        assert await task.result("20s") == 2


async def test_the_children_of_a_cancelled_parent_are_cancelled(app: App, hold: Any) -> None:
    @app.task()
    async def parent(ctx: Context) -> Join:
        await ctx.spawn(hold, 1)
        await ctx.spawn(hold.using(delay="1h"), 2)
        return Join()

    task = await parent.enqueue()
    async with app.worker():
        await stands(task, "suspended")
        children = [Task(app, child.id, child.kind) for child in await app.tasks(parent=task.id)]
        assert await task.cancel("enough") == "cancelled"
        for child in children:
            with pytest.raises(TaskCancelled, match=f"its parent, task {task.id}, was cancelled"):
                await child.result("20s")
    assert await events(app, task) == ["cancel"]


async def test_without_cascade_the_children_go_on(app: App, hold: Any) -> None:
    @app.task()
    async def parent(ctx: Context) -> Join:
        await ctx.spawn(hold, 7)
        return Join()

    task = await parent.enqueue()
    async with app.worker():
        await stands(task, "suspended")
        (child,) = await app.tasks(parent=task.id)
        await task.cancel(cascade=False)
        hold.release.set()
        assert await app.result(child.id, timeout="20s") == 7


async def test_a_parked_child_that_is_resumed_does_not_run_the_parent_twice(app: App) -> None:
    broken = True
    runs: list[list[str]] = []

    @app.task(retry=0)
    async def child() -> str:
        if broken:
            raise OSError("broken")
        return "mended"

    @app.task()
    async def parent(ctx: Context) -> Any:
        if not ctx.children:
            await ctx.spawn(child)
            return Join()
        runs.append([each.status for each in ctx.children])
        return Snooze("1h") if len(runs) == 1 else runs

    task = await parent.enqueue()
    async with app.worker():
        await until(lambda: runs, "the parent to see the end of its child")
        (found,) = await app.tasks(parent=task.id)
        broken = False
        await app.retry(found.id)
        assert await app.result(found.id, timeout="20s") == "mended"
        await stands(task, "queued")
        await task.retry()
        # The last word of a child counts.
        assert await task.result("20s") == [["failed"], ["succeeded"]]


async def test_a_parent_whose_worker_died_after_the_join_has_its_children_still(
    app: App, square: Any, conn: psycopg.Connection
) -> None:
    release = asyncio.Event()
    seen: list[list[int]] = []

    @app.task()
    async def parent(ctx: Context, spawned: bool = False) -> Any:
        if not spawned:
            await ctx.spawn(square, 3)
            return Join(spawned=True)
        seen.append([child.result for child in ctx.children])
        if len(seen) == 1:
            await release.wait()
        return seen

    task = await parent.enqueue()
    async with app.worker(lease="10m"):
        await until(lambda: seen, "the run after the join")
        conn.execute(
            "select howdah.lose(id, epoch, 'crash', 'taken away', true) from howdah.task where status = 'running'"
        )
        assert await task.result("20s") == [[9], [9]]
        release.set()


# ── where it does not work ──


async def test_a_handler_in_a_process_may_send_and_not_spawn(app: App) -> None:
    serve(app)
    task = await app.enqueue("spawn_in_a_process")
    async with app.worker(processes=1):
        with pytest.raises(TaskFailed, match=r"ctx\.spawn does not work with executor='process'. Spawn from a step"):
            await task.result("30s")
    assert len(await app.tasks()) == 1


@pytest.mark.parametrize("transactional", [False, True])
async def test_children_are_written_with_the_end_of_their_parent_or_not_at_all(
    app: App, square: Any, conn: psycopg.Connection, transactional: bool
) -> None:
    @app.task(transactional=transactional, retry=0)
    async def parent(ctx: Context, fails: bool) -> int:
        child = await ctx.spawn(square, 5)
        if not transactional:

            @ctx.on_commit
            async def _(conn: Any) -> None:
                if fails:
                    await conn.execute("select 1/0")

        elif fails:
            raise OSError("after the spawn")
        return child

    good, bad = await parent.enqueue(fails=False), await parent.enqueue(fails=True)
    async with app.worker():
        assert await app.result(await good.result("20s"), timeout="20s") == 25
        with pytest.raises(TaskFailed):
            await bad.result("20s")
    assert await app.tasks(parent=bad.id) == []


async def test_a_child_knows_its_parent(app: App) -> None:
    @app.task()
    async def child(ctx: Context) -> int | None:
        return ctx.parent

    @app.task()
    async def parent(ctx: Context) -> Any:
        if ctx.children:
            return [ctx.id, ctx.parent, ctx.children[0].result]
        await ctx.spawn(child)
        return Join()

    task = await parent.enqueue()
    async with app.worker():
        assert await task.result("20s") == [task.id, None, task.id]


async def test_children_of_every_kind_are_waited_for(app: App, square: Any) -> None:
    machine = app.machine("machine")

    @machine.step
    @dataclass
    class Double:
        n: int

        async def run(self) -> Done:
            return Done(2 * self.n)

    @app.actor("adder", inbox=int)
    @dataclass
    class Adder:
        total: int = 1

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            return Done(self.total + sum(inbox))

    @app.task()
    async def parent(ctx: Context) -> Any:
        if ctx.children:
            return [child.result for child in ctx.children]
        await ctx.spawn(square, 4)
        await ctx.spawn(machine, Double(5))
        await ctx.spawn(Adder, 6)
        return Join()

    task = await parent.enqueue()
    async with app.worker():
        assert await task.result("20s") == [16, 10, 7]
