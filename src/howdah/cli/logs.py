"""What a worker says on stderr, as text or as JSON lines."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from howdah.cli.output import escaped, to_json

LogFormat = Literal["text", "json"]


def begin(form: LogFormat, *, verbose: bool, name: str | None = None) -> None:
    """Log to stderr. `name` tells the workers of one supervisor apart."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSON(name) if form == "json" else _Text(name))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("howdah").setLevel(logging.DEBUG if verbose else logging.INFO)
    for chatty in ("psycopg", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _Text(logging.Formatter):
    """`09:46:33 WARNING [2] worker: …`; what a terminal would obey is escaped, because messages hold users' data."""

    def __init__(self, name: str | None) -> None:
        mark = f"[{name}] " if name else ""
        super().__init__(f"%(asctime)s %(levelname)-7s {mark}%(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record), lines=True)


class _JSON(logging.Formatter):
    def __init__(self, name: str | None) -> None:
        super().__init__()
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._name:
            line["worker"] = self._name
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return to_json(line)
