"""Connections of sql stages: one small pool per address and process, and statements in threads that can be called off."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL, Dialect, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from howdah.db.failures import check_dsn, without_password
from howdah.errors import InvalidOption
from howdah.pipeline.stage import InvalidField
from howdah.worker.threads import Threads

T = TypeVar("T")
POOL_SIZE = 5
CONNECT_TIMEOUT = 10
# What to install for a driver whose package has another name than its module.
_PACKAGES = {"MySQLdb": "mysqlclient", "oracledb": "oracledb", "cx_Oracle": "oracledb", "psycopg2": "psycopg2-binary"}


class Address:
    """Where a database is. Raises InvalidField if it cannot be read or its driver is not installed."""

    def __init__(self, connection: str, folder: Path) -> None:
        given = connection.strip()
        self.libpq: dict[str, Any] = {}
        if re.match(r"postgres(ql)?(\+psycopg)?://", given) or ("://" not in given and "=" in given):
            try:
                # libpq reads its own addresses: with sockets, several hosts, sslmode and everything else it knows.
                self.libpq = dict(conninfo_to_dict(check_dsn(given)))
            except InvalidOption as error:
                raise InvalidField("connection", error.message.replace("dsn", "connection"), hint=error.hint) from None
            self.url = make_url("postgresql+psycopg://")
        else:
            self.url = _in_folder(_url(given), folder)
        self.key = str(sorted(self.libpq.items())) + self.url.render_as_string(hide_password=False)
        self._secrets = [secret for secret in (self.url.password, self.libpq.get("password")) if secret]
        self._check_driver()

    def __str__(self) -> str:
        if not self.libpq:
            return self.url.render_as_string(hide_password=True)
        return "postgresql://{host}/{dbname}".format_map({"host": "", "dbname": ""} | self.libpq)

    def without_secrets(self, said: str) -> str:
        """What somebody said, with every password in it replaced."""
        for secret in self._secrets:
            said = said.replace(str(secret), "***")
        return without_password(said)

    @property
    def in_memory(self) -> bool:
        """Whether it is an SQLite that lives in this process only."""
        return self.url.get_backend_name() == "sqlite" and self.url.database in (None, "", ":memory:")

    def _check_driver(self) -> None:
        driver = self.url.drivername
        try:
            dialect: type[Dialect] = self.url.get_dialect()
        except NoSuchModuleError:
            raise InvalidField(
                "connection", f"connection begins with {driver}://, which SQLAlchemy does not know",
                hint="Write postgresql://, mysql+pymysql://, sqlite:/// or another it knows",
            ) from None  # fmt: skip
        except ImportError as error:
            raise _missing(driver, error) from None
        if dialect.is_async:
            raise InvalidField("connection", f"{driver} is an async driver", hint=f"Write {driver.split('+')[0]}://")
        try:
            dialect.import_dbapi()
        except ImportError as error:
            raise _missing(driver, error) from None


def _url(given: str) -> URL:
    try:
        return make_url(given)
    except (ArgumentError, ValueError):  # its words may hold the password
        raise InvalidField(
            "connection", "connection cannot be read as an address",
            hint='Write "postgresql://user:password@host:5432/database" or "sqlite:///file.db"',
        ) from None  # fmt: skip


def _in_folder(url: URL, folder: Path) -> URL:
    """A relative path of an SQLite file begins at the folder of the pipeline's file, not where the worker was started."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith((":memory:", "file:")):
        return url
    return url.set(database=str(folder.resolve() / url.database))


def _missing(driver: str, error: ImportError) -> InvalidField:
    module = (error.name or driver.partition("+")[2] or driver).split(".")[0]
    return InvalidField(
        "connection", f"the driver of {driver}:// is not installed", hint=f"pip install {_PACKAGES.get(module, module)}"
    )


class Engines:
    """The pool of one address, shared by all stages of this process that name it."""

    _all: ClassVar[dict[str, Engines]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, address: Address) -> None:
        self._key, self._users = address.key, 0
        self.threads = Threads()
        options: dict[str, Any] = {}
        if address.libpq:
            options["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT, "application_name": "howdah"} | address.libpq
        if not address.in_memory:
            # A statement waits for a connection as long as its stage may take.
            options |= {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": None, "pool_pre_ping": True}
        # The values of an event do not belong into messages.
        self.engine: Engine = create_engine(address.url, hide_parameters=True, **options)

    @classmethod
    def shared(cls, address: Address) -> Engines:
        """The one for this address; `release` it when done."""
        with cls._lock:
            found = cls._all.get(address.key) or cls._all.setdefault(address.key, cls(address))
            found._users += 1
            return found

    def release(self) -> None:
        """The last one to let go closes the connections."""
        with Engines._lock:
            self._users -= 1
            if self._users:
                return
            Engines._all.pop(self._key, None)
        self.engine.dispose()


class Lent:
    """A connection while one statement uses it."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._lock = threading.Lock()
        self._driver: Any = None
        self._off = False

    async def run(self, function: Callable[[], T]) -> T:
        """Call it in a thread. Cancelled, the statement is called off where it runs, as far as its driver can."""
        try:
            return await self._engines.threads.call(function, {})
        except asyncio.CancelledError:
            # In a thread of its own: it may take a connection to the server.
            threading.Thread(target=self._call_off, name="howdah-cancel", daemon=True).start()
            raise

    @contextlib.contextmanager
    def transaction(self, *, stream: bool) -> Generator[Connection]:
        """A transaction, committed if the block ends well. In the thread that `run` gives."""
        with self._engines.engine.connect() as connection:
            if stream:
                connection = connection.execution_options(stream_results=True, max_row_buffer=1_000)
            with connection.begin():
                self._begun(connection.connection.driver_connection)
                try:
                    yield connection
                finally:
                    # Before it goes back to the pool: the next statement on it is not ours to call off.
                    with self._lock:
                        self._driver = None

    def _begun(self, driver: Any) -> None:
        with self._lock:
            if self._off:
                raise CalledOff
            self._driver = driver

    def _call_off(self) -> None:
        with self._lock:
            self._off = True
            # psycopg cancel_safe, sqlite3 interrupt, oracledb cancel; others end when their statement does.
            for verb in ("cancel_safe", "interrupt", "cancel"):
                if stop := getattr(self._driver, verb, None):
                    with contextlib.suppress(Exception):
                        stop()
                    return


class CalledOff(Exception):
    """Nobody waits for this statement any more."""
