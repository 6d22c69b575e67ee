"""Pipelines beside code: what a file says becomes kinds, schedules and standing tasks of an App."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from howdah.app import App
from howdah.errors import InvalidOption
from howdah.kinds.schedule import Schedule
from howdah.pipeline.collector import CollectorKind, CollectStep
from howdah.pipeline.document import load
from howdah.pipeline.kind import PipelineKind
from howdah.pipeline.model import Document
from howdah.pipeline.source import SourceKind
from howdah.pipeline.stage import Polling, Scheduled
from howdah.pipeline.stages.collect import Collect


def add_pipeline(app: App, file: Path | str | Document) -> PipelineKind:
    """Have the workers of this app run a pipeline as well.

    Raises InvalidPipeline with all that is wrong in the file, InvalidOption if the app has a kind of its name.

    >>> add_pipeline(app, "tasks.yaml")                  # doctest: +SKIP
    """
    document = file if isinstance(file, Document) else load(Path(file))
    kind = PipelineKind(document, max_payload=app.max_payload)
    app.registry.add(kind)
    app.registry.queue_limits |= kind.limits
    app.registry.closing.append(kind.close)
    for name, spec in document.stages.items():
        stage = spec.stage
        if isinstance(stage, Scheduled):
            when = dict(stage.schedule())
            app.registry.add_schedule(
                Schedule.checked(f"{document.name}.{name}", kind, step=name, payload=stage.event(), **when)
            )
        elif isinstance(stage, Polling) and not spec.inputs:
            source = SourceKind(kind, stage, name)
            app.registry.add(source)
            app.registry.standing.append(source.standing())
        elif isinstance(stage, Collect):
            collector = CollectorKind(kind, stage, name, app)
            app.registry.add(collector)
            kind.steps[name] = CollectStep(kind.steps[name], collector)
        elif not spec.inputs:
            raise InvalidOption(
                f"{document.name}: stage {name} has no inputs", hint="Name the stages it takes events from"
            )
    return kind


def add_pipelines(app: App, files: Iterable[Path | str]) -> None:
    """As `add_pipeline`, several: all of them are read first, so that a mistake in one starts none."""
    for document in [load(Path(file)) for file in files]:
        add_pipeline(app, document)
