"""Which database: the one that was named, or the embedded one. Opened once, whoever asks first."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

from howdah import embedded
from howdah.db.failures import check_dsn
from howdah.db.pool import Database
from howdah.errors import InvalidOption, shown
from howdah.migrate import check, migrate


class Installation:
    """The database of one App. `dsn` None means HOWDAH_DSN, and without that the embedded server."""

    def __init__(self, dsn: str | None = None, *, home: Path | str | None = None) -> None:
        # An empty variable is one that is not set; an empty argument is a mistake, and no wish for another database.
        named = dsn if dsn is not None else os.environ.get("HOWDAH_DSN") or None
        self.dsn = None if named is None else check_dsn(named)
        if home is not None and (not isinstance(home, (str, os.PathLike)) or not str(home)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"home must be the path of a folder, not {shown(home)}")
        self.home = home
        self.server: embedded.EmbeddedServer | None = None
        self._database: Database | None = None
        self._lock = threading.Lock()

    def open_sync(self) -> Database:
        """The database, with tables that fit this code. Starts the embedded server if no DSN was given.

        The embedded database is migrated by itself; one that was named is only checked, because changing it is a
        decision. Raises CannotConnect, SchemaMismatch, MissingExtra, EmbeddedServerError.
        """
        with self._lock:
            if self._database is None:
                if self.dsn is None:
                    self.server = self.server or embedded.start(self.home)
                    database = Database(self.server.dsn)
                    migrate(database)
                else:
                    database = Database(self.dsn)
                    check(database)
                self._database = database
            return self._database

    async def open(self) -> Database:
        """As `open_sync`, without blocking the loop."""
        return self._database or await asyncio.to_thread(self.open_sync)

    def open_unchecked(self) -> Database:
        """The database as it is, for those who bring its tables up to date or look at it by hand."""
        with self._lock:
            if self._database is not None:
                return self._database
            if self.dsn is None:
                self.server = self.server or embedded.start(self.home)
                return Database(self.server.dsn)
            return Database(self.dsn)

    async def close(self) -> None:
        """Close the connections, and leave the embedded server, which stops when nobody uses it any more."""
        database, self._database = self._database, None
        if database is not None:
            await database.close()
        await asyncio.to_thread(self._leave)

    def close_sync(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close_sync()
        self._leave()

    def _leave(self, *_: Any) -> None:
        server, self.server = self.server, None
        if server is not None:
            server.release()
