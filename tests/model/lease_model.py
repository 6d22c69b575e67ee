"""Explicit-state model check of howdah's lease and fence: one task, a few workers, one database.

Breadth-first over every interleaving, with crash, pause (SIGSTOP), messages that are lost and messages that arrive
arbitrarily late, also after their sender died. The protocol must have no counterexample in any VIEW; each of MUTANTS
takes one rule away and must have one. A view adds one part of the protocol to the bare lease, which keeps it small.

    python tests/model/lease_model.py            what the test suite runs
    python tests/model/lease_model.py --big      wider bounds, a quarter of an hour
    python tests/model/lease_model.py unfenced   one mutant, with its trace
"""

from __future__ import annotations

import gc
import itertools
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

LEASE, MARGIN = 2, 1  # ticks; a worker trusts its lease for LEASE - MARGIN of them
TRUST = LEASE - MARGIN
TIMEOUT = 1  # ticks an attempt may take; rescue ends it a whole lease later
PATIENCE = 2  # ticks after which a claim's reply is thrown away


class Task(NamedTuple):
    status: str = "queued"
    epoch: int = 0
    cancel: bool = False  # it was asked to cancel while it ran
    age: int = 0  # ticks since it was claimed (view timeout)


class Worker(NamedTuple):
    # its rows in the database
    row: str = "none"  # live, dead, gone (deleted)
    lease: int = 0
    owns: int = 0  # the claim_seq by which it owns the task, 0: it does not
    # the process
    process: str = "none"  # up, paused, over
    held: int = 0  # the epoch it believes it holds
    phase: str = "idle"  # runs (a handler), ended (and not settled yet)
    trust: int = 0
    clock: int = 0  # ticks its handler may still run (view timeout)
    asked: int = 0  # number of its last claim request
    waits: int = 0  # ticks it will still wait for that reply; 0: settled
    beat: tuple[Any, ...] = ()  # a heartbeat that is being put together (view threads)
    stopping: bool = False
    # claim seq | claiming seq | claimed seq epoch | start epoch | beat held settled credit | alive credit | lost
    # done, retry, release epoch | leave
    mail: tuple[tuple[Any, ...], ...] = ()


class State(NamedTuple):
    task: Task
    begun: int  # workers started
    faults: int
    cancels: int
    workers: tuple[Worker, ...]


@dataclass(frozen=True)
class Bounds:
    """What is explored: a view and how much of everything."""

    views: frozenset[str] = frozenset()
    claims: int = 2  # the highest epoch
    workers: int = 2
    requests: int = 1  # claim requests per worker
    faults: int = 1


ENDED = ("succeeded", "cancelled", "failed")
OUTCOMES = ("done", "retry", "release")
Step = tuple[str, bool, State, str | None]  # what happens, is it a fault, what follows, what it breaks


class Model:
    def __init__(self, bounds: Bounds, mutant: str | None = None) -> None:
        self.bounds = bounds
        self.mutant = mutant
        self.initial = State(Task(), 0, 0, 0, (Worker(),) * bounds.workers)
        self.timeout, self.threads, self.leave, self.cancel, self.again, self.still = (
            view in bounds.views for view in ("timeout", "threads", "leave", "cancel", "again", "still")
        )

    # ── what the database does to a task that leaves its worker ──

    def back(self, task: Task, by: str, *, spent: bool) -> Task:
        """Queued again, or ended if it was asked to cancel or its attempts are used up."""
        if task.cancel and self.mutant != f"cancel_forgotten_by_{by}":
            return Task("cancelled", task.epoch)
        if spent and task.epoch >= self.bounds.claims:
            return Task("failed", task.epoch)
        return task._replace(status="queued", age=0)

    # ── one step of anything ──

    def steps(self, s: State) -> Iterator[Step]:
        task = s.task
        if task.status not in ENDED:
            ticked = self._tick(s)
            if ticked != s and not self.still:
                yield "a tick passes", False, ticked, None
            if self.cancel and s.cancels == 0:
                asked = task._replace(cancel=True) if task.status == "running" else Task("cancelled", task.epoch)
                yield "somebody cancels the task", False, s._replace(task=asked, cancels=1), None
        unborn = True
        for i, w in enumerate(s.workers):
            if task.status not in ENDED:
                if w.process == "none":
                    if unborn:
                        unborn = False
                        started = Worker(row="live", lease=LEASE, process="up", trust=TRUST)
                        yield f"w{i} registers", False, self._with(s, i, started, begun=s.begun + 1), None
                    continue
                yield from self._process(s, i, w)
                yield from self._rescue(s, i, w)
            for message in set(w.mail):
                mail = list(w.mail)
                mail.remove(message)
                rest = w._replace(mail=tuple(mail))
                if message[0] in OUTCOMES:
                    yield from self._settle(s, i, rest, *message)
                elif task.status not in ENDED:
                    if s.faults < self.bounds.faults and message[0] not in ("start", "claiming"):
                        yield f"lost: {message} of w{i}", True, self._with(s, i, rest, faults=s.faults + 1), None
                    yield from self._deliver(s, i, rest, message)

    def _with(self, s: State, i: int, w: Worker, **changes: Any) -> State:
        w = w._replace(mail=tuple(sorted(w.mail)))
        return s._replace(workers=(*s.workers[:i], w, *s.workers[i + 1 :]), **changes)

    def _tick(self, s: State) -> State:
        def later(w: Worker) -> Worker:
            frozen = w.process == "paused" and self.mutant == "monotonic_stops_in_suspend"
            mail = tuple(sorted((*m[:-1], max(m[-1] - 1, 0)) if m[0] in ("beat", "alive") else m for m in w.mail))
            beat = w.beat and (*w.beat[:-1], max(w.beat[-1] - 1, 0))
            return w._replace(
                lease=max(w.lease - 1, 0),
                trust=w.trust if frozen else max(w.trust - 1, 0),
                clock=max(w.clock - 1, 0),
                waits=max(w.waits - 1, 0) if self.timeout and self.mutant != "patient_claim" else w.waits,
                mail=mail,
                beat=beat,
            )

        age = min(s.task.age + 1, TIMEOUT + LEASE) if self.timeout and s.task.status == "running" else 0
        return s._replace(task=s.task._replace(age=age), workers=tuple(map(later, s.workers)))

    def _process(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """What the process of a worker may do by itself."""
        kinds = {m[0] for m in w.mail}
        if w.process in ("up", "paused") and s.faults < self.bounds.faults:
            dead = w._replace(process="over", held=0, phase="idle", trust=0, clock=0, waits=0, beat=())
            yield f"w{i} crashes", True, self._with(s, i, dead, faults=s.faults + 1), None
            if w.process == "up":
                paused = w._replace(process="paused")
                yield f"w{i} is suspended", True, self._with(s, i, paused, faults=s.faults + 1), None
        if w.process == "paused":
            yield f"w{i} goes on", False, self._with(s, i, w._replace(process="up")), None
        if w.process != "up":
            return

        if w.asked < self.bounds.requests and not w.waits and w.trust and not w.held and not w.stopping:
            asks = w._replace(asked=w.asked + 1, waits=PATIENCE, mail=(*w.mail, ("claim", w.asked + 1)))
            yield f"w{i} asks for work, claim {asks.asked}", False, self._with(s, i, asks), None
        if w.waits and "claimed" not in kinds and "start" not in kinds:
            yield f"w{i} gives claim {w.asked} up", False, self._with(s, i, w._replace(waits=0)), None

        settled = w.asked - (w.waits > 0)
        if not kinds & {"beat", "alive", "lost"}:
            if not self.threads:
                sent = w._replace(mail=(*w.mail, ("beat", w.held, settled, TRUST)))
                yield f"w{i} beats: held {w.held}, settled {settled}", False, self._with(s, i, sent), None
            elif not w.beat:
                first = w.held if self.mutant == "reads_held_before_settled" else settled
                yield f"w{i} begins a beat", False, self._with(s, i, w._replace(beat=(first, TRUST))), None
            else:
                first, credit = w.beat
                pair = (first, settled) if self.mutant == "reads_held_before_settled" else (w.held, first)
                sent = w._replace(beat=(), mail=(*w.mail, ("beat", *pair, credit)))
                yield f"w{i} beats: held {pair[0]}, settled {pair[1]}", False, self._with(s, i, sent), None

        if w.phase != "idle" and not kinds & set(OUTCOMES):
            for how in OUTCOMES:
                if how == "done" or (how == "retry" and self.again) or (how == "release" and self.leave):
                    stopping = w.stopping or how == "release"
                    sent = w._replace(phase="ended", stopping=stopping, mail=(*w.mail, (how, w.held)))
                    yield f"w{i} says {how} of epoch {w.held}", False, self._with(s, i, sent), None
        careless = self.mutant == "leaves_while_running"
        if self.leave and "leave" not in kinds and w.row == "live" and (careless or w.phase != "runs"):
            left = w._replace(stopping=True, mail=(*w.mail, ("leave",)))
            if not careless:
                left = left._replace(process="over", held=0, phase="idle", trust=0, clock=0, waits=0, beat=())
            yield f"w{i} leaves", False, self._with(s, i, left), None

    def _rescue(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        # A process that runs renews in time, so that nothing may rely on finding one dead: that counts as a fault.
        if w.row == "live" and w.lease == 0 and not any(m[0] == "claiming" for m in w.mail):
            if self.mutant == "prune_before_rescue":
                yield f"w{i}'s row is deleted", w.process == "up", self._with(s, i, w._replace(row="gone")), None
            if self.mutant == "rescue_only_the_newly_dead" and w.owns:
                task = self.back(s.task, "rescue", spent=True)
                yield (
                    f"w{i} is found dead, its task taken back",
                    w.process == "up",
                    self._with(s, i, w._replace(row="dead", owns=0), task=task),
                    None,
                )
            else:
                yield f"w{i} is found dead", w.process == "up", self._with(s, i, w._replace(row="dead")), None
        if w.row == "dead" and w.owns and self.mutant != "rescue_only_the_newly_dead":
            task = self.back(s.task, "rescue", spent=True)
            yield f"dead w{i}'s task is taken back", False, self._with(s, i, w._replace(owns=0), task=task), None
        grace = 0 if self.mutant == "timeout_without_grace" else LEASE
        if self.timeout and w.row == "live" and w.owns and s.task.age >= TIMEOUT + grace:
            task = self.back(s.task, "rescue", spent=True)
            yield f"w{i}'s task is out of time", False, self._with(s, i, w._replace(owns=0), task=task), None

    # ── what happens when a message arrives ──

    def _settle(self, s: State, i: int, w: Worker, how: str, epoch: int) -> Iterator[Step]:
        task = s.task
        fence = {
            "unfenced": task.status not in ENDED or how == "done",
            "fence_by_status_only": task.status == "running",
            "fence_by_worker_only": w.owns > 0,
            "fence_by_epoch_only": task.status not in ENDED and task.epoch == epoch,
        }
        applies = fence.get(self.mutant or "", w.owns > 0 and task.epoch == epoch)
        heard = w._replace(phase="idle", held=0, clock=0) if w.process == "up" and w.held == epoch else w
        if not applies:
            yield f"{how} of epoch {epoch} by w{i} is stale", False, self._with(s, i, heard), None
            return
        broken = None
        if task.status != "running" or task.epoch != epoch:
            broken = f"a stale outcome: {how} of epoch {epoch} applied while {task.status} at epoch {task.epoch}"
        task = Task("succeeded", task.epoch) if how == "done" else self.back(task, how, spent=how == "retry")
        for answered, fault in ((heard, False), (w, True)):  # … or the reply is lost, and the worker says it again
            if fault and (s.faults >= self.bounds.faults or w == heard):
                continue
            n = self._with(s, i, answered, task=task, faults=s.faults + fault)
            n = n._replace(workers=tuple(x._replace(owns=0) for x in n.workers))
            yield f"{how} of epoch {epoch} by w{i} applies{', the reply is lost' * fault}", fault, n, broken

    def _deliver(self, s: State, i: int, w: Worker, message: tuple[Any, ...]) -> Iterator[Step]:
        task, listens = s.task, w.process in ("up", "paused")

        def answered(*reply: Any) -> Worker:
            return w._replace(mail=(*w.mail, reply)) if listens else w

        match message:
            case ("claim", seq) if self.leave:  # in two steps: the lock on the worker's row, then the claim
                looks = w._replace(mail=(*w.mail, ("claiming", seq))) if w.row == "live" else w
                yield f"claim {seq} of w{i} looks at its lease", False, self._with(s, i, looks), None
            case ("claim" | "claiming", seq):
                free = task.status == "queued" or (self.mutant == "no_recheck" and task.status == "running")
                if not free or task.epoch >= self.bounds.claims or (w.row != "live" and message[0] == "claim"):
                    yield f"nothing for claim {seq} of w{i}", False, self._with(s, i, w), None
                    return
                epoch = task.epoch + 1
                n = s._replace(workers=tuple(x._replace(owns=0) for x in s.workers))
                took = answered("claimed", seq, epoch)._replace(owns=seq)
                yield f"w{i} claims epoch {epoch}", False, self._with(n, i, took, task=Task("running", epoch)), None
            case ("beat", held, settled, credit):
                if w.row != "live" and not (w.row == "dead" and self.mutant == "dead_worker_may_renew"):
                    yield f"w{i} is told that it is dead", False, self._with(s, i, answered("lost")), None
                    return
                unheld = w.owns and task.epoch != held and self.mutant != "no_reconcile"
                if unheld and (w.owns <= settled or self.mutant == "reconcile_without_settled"):
                    n = answered("alive", credit)._replace(row="live", lease=LEASE, owns=0)
                    task = self.back(task, "heartbeat", spent=False)
                    yield f"w{i} is renewed, its unheld task goes back", False, self._with(s, i, n, task=task), None
                else:
                    n = answered("alive", credit)._replace(row="live", lease=LEASE)
                    yield f"w{i} is renewed", False, self._with(s, i, n), None
            case ("leave",):
                if w.row != "live":
                    yield f"w{i} leaves too late", False, self._with(s, i, w), None
                else:
                    task = self.back(task, "leave", spent=False) if w.owns else task
                    yield f"w{i} has left", False, self._with(s, i, w._replace(row="dead", owns=0), task=task), None
            case _ if w.process == "up":
                yield from self._hear(s, i, w, message)

    def _hear(self, s: State, i: int, w: Worker, message: tuple[Any, ...]) -> Iterator[Step]:
        match message:
            case ("claimed", seq, epoch):
                runs = {"held": epoch, "phase": "runs", "clock": TIMEOUT * self.timeout}
                if not (w.waits and w.asked == seq):
                    yield f"w{i} throws claim {seq} away", False, self._with(s, i, w), None
                elif not w.trust:
                    over = w._replace(process="over", held=0, phase="idle", clock=0, waits=0, beat=())
                    yield f"w{i} no longer trusts its lease, starts over", False, self._with(s, i, over), None
                elif not self.threads:
                    yield f"w{i} runs epoch {epoch}", False, self._with(s, i, w._replace(**runs, waits=0)), None
                elif self.mutant == "settles_before_holding":
                    n = w._replace(waits=0, mail=(*w.mail, ("start", epoch)))
                    yield f"w{i} settles claim {seq}", False, self._with(s, i, n), None
                else:
                    n = w._replace(held=epoch, mail=(*w.mail, ("start", epoch)))
                    yield f"w{i} holds epoch {epoch}", False, self._with(s, i, n), None
            case ("start", epoch):
                n = w._replace(waits=0, held=epoch, phase="runs")
                yield f"w{i} runs epoch {epoch}", False, self._with(s, i, n), None
            case ("alive", credit):
                trust = max(w.trust, TRUST if self.mutant == "trust_from_reply" else credit)
                yield f"w{i} trusts for {trust}", False, self._with(s, i, w._replace(trust=trust)), None
            case ("lost",):
                over = w._replace(process="over", held=0, phase="idle", trust=0, clock=0, waits=0, beat=())
                yield f"w{i} stops everything", False, self._with(s, i, over), None

    # ── what must hold ──

    def broken(self, s: State) -> str | None:
        def runs(w: Worker) -> bool:
            in_time = w.clock > 0 or not self.timeout
            return w.process == "up" and w.phase == "runs" and w.trust > 0 and in_time

        if sum(map(runs, s.workers)) > 1:
            return "two workers run the task, both in their trusted window"
        if (s.task.status == "running") != (sum(w.owns > 0 for w in s.workers) == 1):
            return "running without exactly one owner"
        if s.task.status == "queued" and s.task.cancel:
            return "a task that was asked to cancel waits for another attempt"
        return None

    def home(self, s: State) -> bool:
        """Ended, or waiting for a worker beyond the bounds of the model, which is no loss."""
        if s.task.status in ENDED:
            return True
        spare = s.begun < self.bounds.workers or any(
            w.row == "live" and w.process in ("up", "paused") and w.asked < self.bounds.requests and not w.stopping
            for w in s.workers
        )
        return s.task.status == "queued" and (s.task.epoch >= self.bounds.claims or not spare)


def plain(s: State) -> State:
    """Workers are interchangeable; of a process that is over only what may still arrive matters."""

    def one(w: Worker) -> Worker:
        if w.process != "over":
            return w
        kept = (*OUTCOMES, "claiming") if w.row != "live" else (*OUTCOMES, "claim", "claiming", "beat", "leave")
        w = w._replace(mail=tuple(m for m in w.mail if m[0] in kept), asked=0, stopping=False, held=0)
        return w if w.row == "live" or w.owns else w._replace(lease=0)

    return s._replace(workers=tuple(sorted(map(one, s.workers))))


@dataclass
class Verdict:
    broken: str | None
    trace: list[str]
    states: int
    seconds: float


def check(bounds: Bounds, mutant: str | None = None, limit: int = 6_000_000) -> Verdict:
    """Explore everything within the bounds; the first thing that breaks, with a shortest way to it."""
    model, began = Model(bounds, mutant), time.monotonic()
    came_from: dict[State, State | None] = {plain(model.initial): None}
    todo = deque(came_from)
    before: dict[State, list[State]] = {}  # steps that are no faults, backwards

    def verdict(broken: str | None, last: State | None = None) -> Verdict:
        trace = [] if last is None or broken is None else _trace(model, came_from, last, broken)
        return Verdict(broken, trace, len(came_from), time.monotonic() - began)

    gc.disable()  # nothing here is garbage
    while todo:
        s = todo.popleft()
        for _, fault, n, broken in model.steps(s):
            broken = broken or model.broken(n)
            if broken:
                return verdict(broken, s)
            n = plain(n)
            if n not in came_from:
                came_from[n] = s
                todo.append(n)
            if not fault:
                before.setdefault(n, []).append(s)
        if len(came_from) > limit:
            return verdict("more states than the limit")
    # Once faults cease, the task can always still end.
    saved = {s for s in came_from if model.home(s)}
    todo = deque(saved)
    while todo:
        for s in before.get(todo.popleft(), ()):
            if s not in saved:
                saved.add(s)
                todo.append(s)
    for s in came_from:
        if s not in saved:
            return verdict(f"the task can never end: it is {s.task.status}", s)
    return verdict(None)


def _trace(model: Model, came_from: dict[State, State | None], last: State, broken: str) -> list[str]:
    path: list[State] = []
    at: State | None = last
    while at is not None:
        path.append(at)
        at = came_from[at]
    path.reverse()
    said = [
        next(label for label, _, n, _ in model.steps(s) if plain(n) == follows)
        for s, follows in itertools.pairwise(path)
    ]
    final = [label for label, _, n, bad in model.steps(last) if (bad or model.broken(n)) == broken]
    return said + final[:1]


def _view(*names: str, **bounds: int) -> Bounds:
    return replace(Bounds(frozenset(names)), **bounds)


# still: no time passes and nothing dies, for what does not depend on it.
VIEWS = {
    "lease": _view(faults=1),
    "calm": _view(faults=0),
    "alone": _view(workers=1, requests=2, faults=2),
    "threads": _view("threads", "still", "leave", faults=0),
    "cancel": _view("cancel", workers=1, requests=2, faults=1),
    "leave": _view("leave", "still", faults=0),
    "leave alone": _view("leave", "cancel", workers=1, requests=2, faults=1),
    "timeout": _view("timeout", faults=0),
    "again": _view("again", "timeout", workers=1, requests=2, faults=1),
}
BIG = {
    "lease": _view(faults=2),
    "threads": _view("threads", faults=1),
    "cancel": _view("cancel", faults=2),
    "leave": _view("leave", "cancel", faults=1),
    "timeout": _view("timeout", faults=1),
    "again": _view("again", "timeout", workers=2, requests=2, faults=0),
}
MUTANTS = {
    "unfenced": ("calm", "an outcome is applied by id alone"),
    "fence_by_status_only": ("calm", "an outcome is applied if the task is running, whoever's it is"),
    "fence_by_worker_only": ("again", "an outcome names its worker, not its epoch: a new claim by the same worker"),
    "fence_by_epoch_only": (
        "again",
        "an outcome names its epoch, not its worker: a task that went back keeps its epoch",
    ),
    "no_recheck": ("calm", "claim does not look at the status again under the row lock"),
    "prune_before_rescue": ("alone", "a dead worker's row is deleted while it still owns its task"),
    "no_reconcile": ("alone", "held is not compared with what is owned: a lost claim reply strands its task"),
    "reconcile_without_settled": ("calm", "held alone decides: a late heartbeat frees a task that is run"),
    "dead_worker_may_renew": ("calm", "a worker declared dead renews"),
    "trust_from_reply": ("calm", "trust counts from the reply instead of from the request"),
    "monotonic_stops_in_suspend": ("lease", "the worker's clock stops while it is suspended"),
    "reads_held_before_settled": ("threads", "the heartbeat reads held, then settled"),
    "settles_before_holding": ("threads", "a reply is settled before its tasks are held"),
    "leaves_while_running": ("leave", "a worker leaves while its handler runs"),
    "rescue_only_the_newly_dead": ("leave alone", "rescue looks only at workers it has just found dead"),
    "cancel_forgotten_by_heartbeat": ("cancel", "a lost claim's task goes back although it was asked to cancel"),
    "cancel_forgotten_by_leave": ("leave alone", "leave gives back a task that was asked to cancel"),
    "cancel_forgotten_by_rescue": ("cancel", "rescue gives back a task that was asked to cancel"),
    "timeout_without_grace": ("timeout", "rescue ends an attempt as soon as its time is over"),
    "patient_claim": ("timeout", "a worker takes the reply to a claim however late it comes"),
}


def main(arguments: list[str]) -> int:
    big = "--big" in arguments
    named = [name for name in arguments if name in MUTANTS]
    runs: list[tuple[str, Bounds, str | None]] = [(name, VIEWS[MUTANTS[name][0]], name) for name in named or MUTANTS]
    if not named:
        runs += [(f"protocol, {view}", bounds, None) for view, bounds in (BIG if big else VIEWS).items()]
    failures = 0
    for label, bounds, mutant in runs:
        found = check(bounds, mutant)
        wrong = found.broken is not None if mutant is None else found.broken in (None, "more states than the limit")
        failures += wrong
        said = found.broken or "everything holds"
        print(
            f"{'FAIL' if wrong else 'ok  '} {label:32} {found.states:8} states {found.seconds:6.1f} s  {said}",
            flush=True,
        )
        if named or wrong:
            print("".join(f"       {n:3} {label}\n" for n, label in enumerate(found.trace, 1)), end="")
    return failures


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
