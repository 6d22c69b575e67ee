"""worker and pipeline run: run tasks until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated

from cyclopts import Parameter

from howdah.app import App
from howdah.cli import apps, logs
from howdah.cli.errors import OK, NotAnApp, say
from howdah.cli.options import ANYWHERE, Where, target
from howdah.cli.supervisor import NUMBER, Supervisor
from howdah.config import Config
from howdah.durations import duration, in_words
from howdah.errors import InvalidOption
from howdah.migrate import release
from howdah.serving import described_queues, queues_in_words
from howdah.telemetry import AttemptEnded, Event
from howdah.worker.address import Address
from howdah.worker.probes import check_free
from howdah.worker.worker import Worker

logger = logging.getLogger("howdah.worker")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class How:
    """How a worker works, as the shell is told."""

    queue: Annotated[
        list[str] | None,
        Parameter(
            name=["--queue", "-q"],
            negative="",
            help="Serve this queue: NAME, NAME=10 (at most 10 at once), NAME*3 (three shares of the concurrency). "
            "Repeat it [default: every queue]",
        ),
    ] = None
    concurrency: Annotated[
        int | None, Parameter(name=["--concurrency", "-c"], help="The most tasks at once [default: 100]")
    ] = None
    processes: Annotated[
        int | None, Parameter(help="So many workers, each a process that is restarted if it dies [default: 1]")
    ] = None
    process_slots: Annotated[
        int | None, Parameter(help='Processes for handlers with executor="process" [default: one per core]')
    ] = None
    until_idle: Annotated[
        bool, Parameter(negative="", show_default=False, help="Exit when nothing is due and nothing runs")
    ] = False
    grace: Annotated[
        str | None, Parameter(help="How long running tasks may go on after a request to stop [default: 30s]")
    ] = None
    lease: Annotated[
        str | None, Parameter(help="How soon the tasks of a worker that died are taken over [default: 30s]")
    ] = None
    poll: Annotated[str | None, Parameter(help="How long it sleeps at most between two looks [default: 5s]")] = None
    listen: Annotated[
        bool | None, Parameter(negative="--no-listen", help="Wake up by LISTEN; else only by polling [default: yes]")
    ] = None
    synchronous_commit: Annotated[
        bool | None,
        Parameter(
            negative="--no-synchronous-commit",
            help="Wait until what is recorded is on disk; else a crash of the server has some tasks run again [default: yes]",
        ),
    ] = None
    health: Annotated[
        str | None,
        Parameter(
            env_var="HOWDAH_HEALTH",
            help="HOST:PORT to answer /livez, /readyz and /health on; :8321 is on this machine only. With --processes each "
            "worker has a port of its own: 8321, 8322, …",
        ),
    ] = None
    verbose: Annotated[
        bool,
        Parameter(name=["--verbose", "-v"], negative="", show_default=False, help="Say each task that ended, and more"),
    ] = False
    log: Annotated[logs.LogFormat, Parameter(env_var="HOWDAH_LOG", help="How to log on stderr")] = "text"

    def settled(self, config: Config) -> How:
        """With what is configured where nothing was given. Raises InvalidOption."""
        queues = described_queues(config.queues) if config.queues is not None else None
        processes = config.processes if self.processes is None else self.processes
        if processes < 1:
            raise InvalidOption(f"processes must be a whole number from 1, not {processes}")
        return replace(
            self,
            queue=queues if self.queue is None else self.queue,
            concurrency=config.concurrency if self.concurrency is None else self.concurrency,
            processes=processes,
            process_slots=config.process_slots if self.process_slots is None else self.process_slots,
            grace=_text(config.grace) if self.grace is None else self.grace,
            lease=_text(config.lease) if self.lease is None else self.lease,
            poll=_text(config.poll) if self.poll is None else self.poll,
            listen=config.listen if self.listen is None else self.listen,
            synchronous_commit=config.synchronous_commit
            if self.synchronous_commit is None
            else self.synchronous_commit,
        )

    def worker(self, app: App) -> Worker:
        """Raises InvalidOption."""
        return app.worker(
            queues=queues_in_words(self.queue) if self.queue else None,
            concurrency=self.concurrency,
            processes=self.process_slots,
            lease=self.lease,
            poll=self.poll,
            listen=self.listen,
            synchronous_commit=self.synchronous_commit,
            grace=self.grace,
            until_idle=self.until_idle,
            health=None if self.health is None else str(self.address(int(os.environ.get(NUMBER, "1")))),
        )

    def address(self, number: int) -> Address:
        """Where the worker of this number answers probes; only with health. Raises InvalidOption."""
        return Address.read(self.health or "").for_worker(number)

    def arguments(self) -> list[str]:
        """The same again, for the workers of a supervisor."""
        said: list[str] = []
        for text in self.queue or ():
            said += ["-q", text]
        for name in ("concurrency", "process_slots", "grace", "lease", "poll", "log", "health"):
            if (value := getattr(self, name)) is not None:
                said += [f"--{name.replace('_', '-')}", str(value)]
        return (
            said
            + ["--until-idle"] * self.until_idle
            + ["--no-listen"] * (self.listen is False)
            + ["--no-synchronous-commit"] * (self.synchronous_commit is False)
            + ["--verbose"] * self.verbose
        )


USUAL = How()


def worker(
    *app: Annotated[
        str,
        Parameter(
            name="MODULE:APP",
            help="Whose tasks to run, such as tasks:app or src/tasks.py:app. Several are served together. Without it "
            "$HOWDAH_APP, [tool.howdah] app in pyproject.toml, or the one App in app.py, main.py or tasks.py here",
        ),
    ],
    pipeline: Annotated[
        list[str] | None, Parameter(negative="", help="Run this pipeline as well: a YAML file. Repeat it")
    ] = None,
    how: How = USUAL,
    where: Where = ANYWHERE,
) -> int:
    """Run tasks until told to stop.

    SIGTERM or Ctrl-C: finish what runs, then exit with 0. Once more: give it back to the queue at once.
    """
    _begin_logs(how)
    found = apps.find(app)
    served = apps.together(found, where.dsn)
    _add_pipelines(served, pipeline or ())
    if not len(served.registry):
        raise NotAnApp(
            f"{apps.names(found)} has no tasks", hint="Import the modules that define them where the App is made"
        )
    again = ["worker", *(each.name for each in found), *(f"--pipeline={file}" for file in pipeline or ())]
    return _serve(served, ", ".join([apps.names(found), *(pipeline or ())]), again, how, where)


def pipeline_run(
    *file: Annotated[str, Parameter(name="FILE", help="YAML files of pipelines")],
    app: Annotated[
        list[str] | None, Parameter(negative="", help="MODULE:APP whose tasks to run as well, for `enqueue`. Repeat it")
    ] = None,
    how: How = USUAL,
    where: Where = ANYWHERE,
) -> int:
    """Run pipelines until told to stop. As many of these as you like share the work."""
    _begin_logs(how)
    if not file:
        raise InvalidOption("no file was named", hint="howdah pipeline run tasks.yaml")
    found = apps.find(app) if app else []
    served = apps.together(found, where.dsn) if found else App(where.dsn)
    _add_pipelines(served, file)
    again = ["pipeline", "run", *file, *(f"--app={each.name}" for each in found)]
    return _serve(served, ", ".join([*file, *(each.name for each in found)]), again, how, where)


def _begin_logs(how: How) -> None:
    logs.begin(how.log, verbose=how.verbose, name=os.environ.get(NUMBER))


def _add_pipelines(app: App, files: Sequence[str]) -> None:
    if files:
        from howdah.pipeline.adding import add_pipelines

        add_pipelines(app, files)


def _serve(served: App, what: str, again: Sequence[str], how: How, where: Where) -> int:
    """Run one worker here, or several below a supervisor that runs `again`."""
    how = how.settled(served.config)
    for name in served.config.unused(served.registry.names()):
        say(f"note: the configuration says something of a kind {name!r}, which is not here")
    if how.verbose:
        served.listen(_say_end)
    # Checked before anything starts, whoever runs it in the end.
    made = how.worker(served)
    if os.environ.get(NUMBER):
        return _run(served, made, follow=True)
    served.installation.open_sync()
    try:
        _print_banner(what, served, how)
        if how.processes == 1:
            return _run(served, made)
        assert how.processes is not None
        if how.health is not None:
            for number in range(1, how.processes + 1):
                check_free(how.address(number))
        arguments = [*again, *how.arguments(), *(["--dsn", where.dsn] if where.dsn else [])]
        return asyncio.run(Supervisor(arguments, how.processes).run())
    finally:
        served.close_sync()


def _run(app: App, made: Worker, *, follow: bool = False) -> int:
    """Until it has stopped. `follow`: stop as well when the supervisor is gone."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        if follow:
            loop.add_reader(sys.stdin.fileno(), _parent_gone, made)
        # A closed terminal is a request to stop, unless nohup says otherwise.
        if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, made.stop)
        try:
            await made.run(signals=True)
        finally:
            await app.close()

    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(run())
    return OK


def _say_end(event: Event) -> None:
    if isinstance(event, AttemptEnded) and event.error is None:
        logger.debug("task %d (%s) %s after %s", event.task_id, event.kind, event.outcome, in_words(event.seconds))


def _parent_gone(made: Worker) -> None:
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    made.stop()


def _fast_loop() -> type[asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.Loop
    return None


def _text(length: timedelta) -> str:
    return f"{length.total_seconds()}s"


def _print_banner(what: str, app: App, how: How) -> None:
    server = app.installation.server
    started = f" (started in {in_words(server.seconds)})" if server is not None and server.started else ""
    kinds = app.registry.names()
    listed = ", ".join(kinds[:8]) + (f" and {len(kinds) - 8} more" if len(kinds) > 8 else "")
    workers = f" in each of {how.processes} workers" if how.processes != 1 else ""
    say(f"howdah {release()} · {what} · pid {os.getpid()} on {socket.gethostname()}")
    say(f"  database     {target(app.installation.dsn)}{started}")
    say(f"  kinds        {listed}")
    say(f"  queues       {', '.join(how.queue) if how.queue else 'all'}")
    say(f"  concurrency  {how.concurrency}{workers}")
    if how.health is not None:
        ports = f" to {how.address(how.processes or 1).port}" if (how.processes or 1) > 1 else ""
        say(f"  health       http://{how.address(1)}{ports}/readyz")
    grace = in_words(duration(how.grace or 0))
    say(f"  stop         Ctrl-C finishes what runs (at most {grace}); twice gives it back at once")
