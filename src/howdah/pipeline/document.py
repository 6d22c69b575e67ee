"""The file of a pipeline: read and checked, and nothing of it started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from howdah.errors import MissingExtra
from howdah.pipeline.checking import Checking
from howdah.pipeline.environment import Environment
from howdah.pipeline.errors import InvalidPipeline, PipelineError, Unreadable
from howdah.pipeline.model import Document, StageSpec
from howdah.pipeline.modules import PIP, Modules

__all__ = ["Document", "StageSpec", "load", "parse"]


def load(path: str | Path, *, modules: Modules | None = None, environment: Mapping[str, str] | None = None) -> Document:
    """Read and check a file. Raises InvalidPipeline with all that is wrong with it, or MissingExtra."""
    path = Path(path)
    reading = _reading()
    try:
        with path.open("rb") as file:
            text = reading.decode(file.read(reading.MAX_BYTES + 1))
    except OSError as error:
        said = f"the file cannot be read: {(error.strerror or str(error)).lower()}"
        raise InvalidPipeline([PipelineError(said, file=path)]) from None
    except ValueError as error:  # among them Unreadable
        place, hint = (error.place, error.hint) if isinstance(error, Unreadable) else (None, None)
        said = error.message if isinstance(error, Unreadable) else f"the file cannot be read: {error}"
        raise InvalidPipeline([PipelineError(said, file=path, place=place, hint=hint)]) from None
    return parse(text, path, modules=modules, environment=environment)


def parse(
    text: str,
    path: str | Path,
    *,
    modules: Modules | None = None,
    environment: Mapping[str, str] | None = None,
) -> Document:
    """Check the text of a file; `path` is where paths in it begin, and what problems name. Raises as `load` does."""
    reading = _reading()
    try:
        root = reading.read(text)
    except Unreadable as error:
        problem = PipelineError(error.message, file=path, place=error.place, hint=error.hint)
        raise InvalidPipeline([problem]) from None
    checking = Checking(
        Path(path), modules or Modules(), Environment(os.environ if environment is None else environment)
    )
    document = checking.document(root)
    if document is None:
        raise InvalidPipeline(checking.problems.found)
    return document


def _reading():
    try:
        from howdah.pipeline import reading
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "ruamel":
            raise
        raise MissingExtra("pipelines need the package ruamel.yaml", hint=PIP) from None
    return reading
