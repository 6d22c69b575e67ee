"""Pipelines beside code: what a file says becomes kinds, schedules and standing tasks of an App."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from howdah.app import App
from howdah.errors import InvalidOption
from howdah.kinds.registry import Registry
from howdah.kinds.schedule import Schedule
from howdah.limits import QueueRules
from howdah.options import check_name
from howdah.pipeline.collector import CollectorKind, CollectStep
from howdah.pipeline.document import load
from howdah.pipeline.errors import InvalidPipeline, PipelineError
from howdah.pipeline.kind import PipelineKind
from howdah.pipeline.model import Document
from howdah.pipeline.source import SourceKind
from howdah.pipeline.stage import Polling, Scheduled
from howdah.pipeline.stages.collect import Collect


def add_pipeline(app: App, file: Path | str | Document) -> PipelineKind:
    """Have the workers of this app run a pipeline as well.

    Raises InvalidPipeline with all that is wrong in the file, InvalidOption if the app has a kind of its name; then nothing
    of it was added.

    >>> add_pipeline(app, "tasks.yaml")                  # doctest: +SKIP
    """
    document = file if isinstance(file, Document) else load(Path(file))
    kind = PipelineKind(document, max_payload=app.max_payload)
    found = Registry()
    found.add(kind)
    for queue, most in kind.limits.items():
        found.add_rule(found.queues, QueueRules(queue, running=most))
    found.closing.append(kind.close)
    for name, spec in document.stages.items():
        stage = spec.stage
        if isinstance(stage, Scheduled):
            when = dict(stage.schedule())
            found.add_schedule(
                Schedule.checked(f"{document.name}.{name}", kind, step=name, payload=stage.event(), **when)
            )
        elif isinstance(stage, Polling) and not spec.inputs:
            source = SourceKind(kind, stage, name)
            found.add(source)
            found.standing.append(source.standing())
        elif isinstance(stage, Collect):
            collector = CollectorKind(kind, stage, name, app)
            found.add(collector)
            kind.steps[name] = CollectStep(kind.steps[name], collector)
        elif not spec.inputs:
            raise InvalidOption(
                f"{document.name}: stage {name} has no inputs", hint="Name the stages it takes events from"
            )
    _check_names(app.registry, found, document)
    app.registry.take_all(found)
    return kind


def _check_names(known: Registry, found: Registry, document: Document) -> None:
    for name in (*(kind.name for kind in found), *found.queues):
        check_name(name, f"{document.path}: the name of the pipeline with that of a stage")
    taken = [f"a handler called {kind.name!r}" for kind in found if known.find(kind.name) is not None]
    taken += [f"a schedule called {name!r}" for name in found.schedules if name in known.schedules]
    if taken:
        raise InvalidOption(
            f"{document.path}: there is {taken[0]} already",
            hint="Give the pipeline another name: write name: … at the top of the file",
        )


def add_pipelines(app: App, files: Iterable[Path | str]) -> None:
    """As `add_pipeline`, several: all of them are read first, so that a mistake in one starts none, and all mistakes are told."""
    documents: list[Document] = []
    problems: list[PipelineError] = []
    for file in files:
        try:
            documents.append(load(Path(file)))
        except InvalidPipeline as error:
            problems += error.problems
    if problems:
        raise InvalidPipeline(problems)
    for document in documents:
        add_pipeline(app, document)
