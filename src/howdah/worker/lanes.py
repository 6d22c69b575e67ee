"""What the next claim may take from where: queues, their limits and shares, and how far each has been claimed."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import msgspec

from howdah.kinds.batch import is_claimed_for_a_process
from howdah.kinds.registry import Registry
from howdah.serving import Weight
from howdah.worker.settings import Settings

# How often at least the claim looks from the start again, for what appeared behind its cursors. When such a look is
# slow (dead entries that a long transaction keeps alive), it may take a twentieth of the time; but one slow look must not
# keep us from the next for minutes.
_FRESH_EVERY = 0.25
_FRESH_SHARE = 20
_FRESH_AT_LEAST = 5


class Lanes:
    """The queues a worker serves. With no queues given it serves all, and learns their names as they appear."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._limits: dict[str, int | Weight] = dict(settings.queues or {})
        self.serves_all = settings.queues is None
        self._concurrency = settings.concurrency
        self._eager: str | None = None
        self._plain = sorted(kind.name for kind in registry if not is_claimed_for_a_process(kind))
        self._process = sorted(kind.name for kind in registry if is_claimed_for_a_process(kind))
        self.use_processes = bool(self._process)
        if self.serves_all:
            for kind in registry:
                self.learn(kind.defaults.queue)
                for step in kind.handlers():
                    self.learn(step.defaults.queue)
            self.learn("default")
        self._cursors: dict[str, dict[str, Any]] = {}
        self._cursors_sent = self._cursors
        self._fresh_at = 0.0
        self._turn = 0

    def learn(self, queue: str) -> bool:
        """A queue was heard of. True if it is new and served here."""
        if not self.serves_all or queue in self._limits:
            return False
        self._limits[queue] = Weight()
        self._eager = None
        return True

    @property
    def narrow(self) -> bool:
        """Whether a lane may be full while the worker is not: then each end makes room for what nobody will tell us of."""
        return self.use_processes or any(isinstance(limit, int) for limit in self._limits.values())

    def serves(self, queue: str) -> bool:
        return self.serves_all or queue in self._limits

    # ── claiming ──

    def request(self, room: int, running: Counter[str], process_room: int, *, fresh: bool) -> str:
        """The lanes of one claim, as JSON for `howdah.pump`.

        A lane may take its share first, then up to its limit of what the others leave.
        """
        self._cursors_sent = _turns(self._cursors) if fresh else self._cursors
        weights = {queue: limit.weight for queue, limit in self._limits.items() if isinstance(limit, Weight)}
        total = sum(weights.values())
        lanes: list[dict[str, Any]] = []
        for queue, limit in self._limits.items():
            if isinstance(limit, Weight):
                # At least one each, or a small worker would never serve a light queue.
                share, most = max(int(room * limit.weight / total), 1), room
            else:
                share = most = min(limit - running[queue], room)
            if most <= 0:
                continue
            for_processes = min(process_room, most) if self._process else 0
            if for_processes:
                lanes.append(
                    self._lane(f"process:{queue}", queue, self._process, min(for_processes, share), for_processes)
                )
            if self._plain:
                spare = 0 if isinstance(limit, Weight) else for_processes
                lanes.append(self._lane(f"plain:{queue}", queue, self._plain, share - min(spare, share), most - spare))
        if len(lanes) > 1:
            # Who is first gets the odd slot: not always the same.
            lanes = lanes[self._turn % len(lanes) :] + lanes[: self._turn % len(lanes)]
            self._turn += 1
        return msgspec.json.encode(lanes).decode()

    def eager(self) -> str:
        """What may begin as soon as a message wakes it, as JSON {queue: [kinds]}: where no limit of a queue has to be kept."""
        if self._eager is None:
            free = [queue for queue, limit in self._limits.items() if isinstance(limit, Weight)]
            self._eager = msgspec.json.encode(dict.fromkeys(free, self._plain)).decode()
        return self._eager

    def _lane(self, name: str, queue: str, kinds: list[str], share: int, limit: int) -> dict[str, Any]:
        cursors = self._cursors_sent.get(name, {})
        return {"name": name, "queue": queue, "kinds": kinds, "share": share, "limit": limit, "cursors": cursors}

    # ── cursors ──

    def ask_again(self) -> None:
        """Somebody has enqueued: where no task had groups, one may have some now."""
        for reached in self._cursors.values():
            reached.pop("groups", None)

    def may_look_fresh(self) -> bool:
        return time.monotonic() >= self._fresh_at

    def until_fresh(self) -> float:
        """Seconds until a look from the start may be had again."""
        return max(self._fresh_at - time.monotonic(), 0)

    def looked(self, cursors: dict[str, Any] | None, *, fresh: bool, seconds: float) -> None:
        """Remember how far the claim went."""
        # By priority: where a look from the start found nothing, the old cursor still has nothing behind it, and keeps the
        # next look out of the dead entries.
        for lane, reached in (cursors or {}).items():
            self._cursors[lane] = self._cursors.get(lane, {}) | reached
        if fresh:
            self._fresh_at = time.monotonic() + min(max(_FRESH_EVERY, _FRESH_SHARE * seconds), _FRESH_AT_LEAST)


def _turns(cursors: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Cursors that begin at the start, but for whose turn it is among the groups."""
    return {
        lane: {
            priority: ["-infinity", 0, place[2]]
            for priority, place in reached.items()
            if priority != "groups" and place[2] is not None
        }
        for lane, reached in cursors.items()
    }
