"""Pipelines: stages in YAML, on the same table and the same worker as every other task.

>>> from howdah.pipeline import add_pipeline
>>> add_pipeline(app, "tasks.yaml")                      # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howdah.pipeline.adding import add_pipeline, add_pipelines

__all__ = ["add_pipeline", "add_pipelines"]


def __getattr__(name: str) -> Any:
    """Imported when first asked for: a module of stages needs neither an App nor a worker."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from howdah.pipeline import adding

    return getattr(adding, name)
