"""Tasks that never end: pollers, and the sources and collectors of pipelines. Each worker makes sure that they are there."""

from __future__ import annotations

from howdah.backoff import Retry

# Before what they bring: a long line must not keep them from looking.
PRIORITY = 1000
# More than for a task that ends: workers are killed again and again while it lives. A poll that kills its worker is parked still.
STANDING_LOST = 10
# A poll that is too slow, or a database that has no connection left, ends none of them.
STANDING_RETRY = Retry(1_000_000, delay="1s", max="1m")
