"""doctor knows a pooler, and its mode."""

from __future__ import annotations

from howdah import Client
from pooler.test_pgbouncer import Pooler, pooler, system

__all__ = ["pooler", "system"]  # fixtures


def test_a_pooler_and_its_mode_are_told(pooler: Pooler) -> None:
    client = Client(pooler.dsn)
    found = {each.check: each for each in client.doctor_sync()}
    mode = "transaction" if pooler.mode == "transaction" else "session"
    assert (found["pooler"].status, f"A pooler in {mode} mode" in found["pooler"].found) == ("warn", True)
    assert ("notify" in found) == (mode == "session")
    assert found["schema"].status == found["clock"].status == found["orphans"].status == "ok"
    client.close_sync()
