"""How attempts of tasks with families and inboxes end: drawn at random, and packed as a worker packs them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from howdah import calls
from model.actor_oracle import ActorOracle, Change, Message
from model.fleet import Fleet, Worker
from model.oracle import MAX_ATTEMPTS, Held
from model.scene import KINDS, pairs

ANYBODY = ["actor", "actor", "actor", "actor", "ghost", "plain", "timed"]
# How an attempt ends: to, attempts, the rest, and whether it may have effects and consume.
ENDS: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    "suspend": ("suspended", "reset", {}, True),
    "doze": ("suspended", "reset", {"delay": 5}, True),
    "sleep": ("queued", "reset", {"delay": 3}, True),
    "go on": ("running", "reset", {}, True),
    "join": ("suspended", "reset", {"joining": True}, True),
    "done": ("succeeded", "keep", {}, True),
    "retry": ("queued", "keep", {"delay": 2, "error": "oops"}, False),
    "park": ("failed", "keep", {"error": "parked"}, False),
    "cancelled": ("cancelled", "keep", {}, True),
    "release": ("queued", "unspent", {}, False),
}
OFTEN = [*ENDS, "suspend", "suspend", "go on", "join", "join", "done"]
WHOM = [
    "itself",
    "parent",
    "child",
    "newborn",
    "sibling",
    "anybody",
    "somebody gone",
    *["asleep", "asleep", "running"] * 2,
]


class Endings(Fleet):
    oracle: ActorOracle

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.ids: list[int] = []  # reserved, for children: some are lower than their parents'

    def outcome(self, data: st.DataObject, worker: Worker, held: Held, ways: list[str]) -> Change:
        to, attempts, more, effective = ENDS[how := data.draw(st.sampled_from(ways), "how")]
        task = self.oracle.live.get(held[0])
        if how == "retry" and task is not None and task.attempt >= MAX_ATTEMPTS:
            to, more = "failed", {"error": "oops"}
        inbox_seq, letters = worker.mail.get(held[0], (0, []))
        change: Change = {
            "id": held[0],
            "epoch": held[1],
            "to": to,
            "attempts": attempts,
            "inbox_seq": inbox_seq,
            "took": [],
        }
        change |= more
        if not effective:
            return change
        if attempts == "reset":
            change["payload"] = {"n": self.number()}
        elif to == "succeeded":
            change["result"] = self.number()
        taken = letters[: data.draw(st.integers(0, len(letters)), "taken")]
        if to != "cancelled":
            change["consumed"] = [letter[0] for letter in taken]
            change["took"] = [self.message(letter) for letter in taken]
        if how == "join" or data.draw(st.integers(0, 2), "spawns") == 0:
            change["spawn"] = [self.newborn(data) for _ in range(data.draw(st.integers(1, 2), "how many"))]
        if len(self.oracle.live) >= 12:
            change["spawn"] = []
        sends = (
            data.draw(st.lists(st.sampled_from(WHOM), max_size=2), "to whom")
            if how != "done" or change.get("spawn")
            else []
        )
        found = [self.whom(data, who, held[0], change) for who in sends]
        change["send"] = [{"to": to, "sender": held[0], "body": self.number()} for to in found if to is not None]
        return {
            name: value for name, value in change.items() if value or name in ("epoch", "inbox_seq", "took", "payload")
        }

    def newborn(self, data: st.DataObject) -> dict[str, Any]:
        if not self.ids:
            self.ids = self.scene.run(calls.reserve_ids(6))
        kind = data.draw(st.sampled_from(ANYBODY), "kind")
        child = {"id": self.ids.pop(), "kind": kind, "queue": "default", "priority": 0, "payload": {}}
        if "inbox" in KINDS[kind] and data.draw(st.booleans(), "first message"):
            child["message"] = self.number()
        if key := data.draw(st.sampled_from([None] * 19 + ["a"]), "key"):
            child["key"] = key
        return child

    def whom(self, data: st.DataObject, who: str, sender: int, change: Change) -> int | None:
        live, me = self.oracle.live, self.oracle.live.get(sender)
        found: Iterable[int] = {
            "itself": [sender],
            "parent": [me.parent] if me is not None and me.parent is not None else [],
            "child": [t.id for t in live.values() if t.parent == sender],
            "newborn": [child["id"] for child in change.get("spawn", ())],
            "sibling": [t.id for t in live.values() if me is not None and t.parent == me.parent and t.id != sender],
            "anybody": live,
            "asleep": self.those("suspended"),
            "running": self.those("running"),
            "somebody gone": self.oracle.accepted - live.keys(),
        }[who]
        # Mostly to those that listen.
        listening = [t for t in found if t not in live or "inbox" in KINDS[live[t].kind]]
        chosen = sorted(listening if data.draw(st.sampled_from([True] * 9 + [False]), "listening") else found)
        return data.draw(st.sampled_from(chosen), "to") if chosen else None

    def settlement_row(self, change: Change) -> dict[str, Any]:
        task = self.oracle.live.get(change["id"])
        row = {name: value for name, value in change.items() if name != "took"}
        if task is not None:
            row |= {"gone": KINDS[task.kind].get("keep", "") is None}
            row |= {"parent": task.parent} if task.parent is not None else {}
        return row

    def settlement(self, changes: list[Change], *, plainly: bool, eager: bool) -> dict[str, Any]:
        """As worker/settlement.py packs it: plain successes as arrays. It has them of children, too."""
        packed: dict[str, Any] = defaultdict(list)
        results = {}
        for change in changes:
            row = self.settlement_row(change)
            more = change.get("spawn") or change.get("send") or (row.get("parent") and (eager or row["gone"]))
            if change["to"] == "succeeded" and plainly and not more:
                packed["gone" if row.get("gone") else "done"].append((change["id"], change["epoch"]))
                results[change["id"]] = change.get("result")
            else:
                packed["transitions"].append(row)
        arguments: dict[str, Any] = {name: pairs(packed[name]) for name in ("done", "gone") if name in packed}
        if "transitions" in packed:
            arguments["transitions"] = json.dumps(packed["transitions"])
        return arguments | {"results": json.dumps(results)}

    # ── helpers ──

    def those(self, status: str) -> list[int]:
        return sorted(task.id for task in self.oracle.live.values() if task.status == status)

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def message(self, letter: list[Any]) -> Message:
        """Of [id, sender, type, body]."""
        _, sender, type_, body = letter
        return Message(sender, body if type_ == "message" else (body["status"], body["result"], short(body["error"])))


def short(error: str | None) -> str | None:
    return error and error.split(":")[0]
