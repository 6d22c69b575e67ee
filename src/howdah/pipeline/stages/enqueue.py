"""enqueue: make a task of each event, for whoever handles its kind."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, Literal

from msgspec import Meta

from howdah.context import Context
from howdah.errors import InvalidOption
from howdah.options import options
from howdah.outcomes import Fail
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, InvalidField, More
from howdah.pipeline.stages import templating
from howdah.templates import Exactly


class Enqueue(stage.Stage):
    """Enqueues a task in the transaction that passes the event on, so there is one per event whatever crashes."""

    class Config(stage.Config, frozen=True):
        kind: Annotated[
            str, Meta(description="The kind of the task: a name of a handler, not a template.", min_length=1)
        ]
        payload: Annotated[
            dict[str, Any] | None,
            Meta(description="Its arguments, as templates (see the module template). Without it: the event itself."),
        ] = None
        step: Annotated[str | None, Meta(description="The step a machine begins at.")] = None
        queue: Annotated[str | None, Meta(description="The queue. Without it: the one of the kind.")] = None
        priority: Annotated[int | None, Meta(description="Higher goes first.")] = None
        delay: Annotated[str | float | None, Meta(description='How long it waits first: "10m", or seconds.')] = None
        key: Annotated[
            str | None,
            Meta(description="A template of the task's key: while a task of this key lives, no second one is made."),
        ] = None
        on_conflict: Annotated[
            Literal["skip", "raise"], Meta(description="What a key that is taken means: no second task, or an error.")
        ] = "skip"
        into: Annotated[str, Meta(description="The field of the event that gets the id of the task.", min_length=1)] = (
            "task_id"
        )

    config: Config

    @cached_property
    def _payload(self) -> templating.Structure | None:
        return None if self.config.payload is None else templating.structure(self.config.payload, "payload")

    @cached_property
    def _key(self) -> templating.Text | None:
        return None if self.config.key is None else templating.text(self.config.key, "key")

    def check(self) -> None:
        _ = self._payload, self._key
        for name in ("step", "queue", "priority", "delay"):
            try:
                options(**{name: getattr(self.config, name)})
            except InvalidOption as error:
                raise InvalidField(name, error.message, hint=error.hint) from None

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        config = self.config
        key = None if self._key is None else self._key.render(event)
        if key is not None and not key.strip():
            raise Fail("key: it is empty for this event")
        task_id = await ctx.enqueue_named(
            config.kind,
            event if self._payload is None else self._payload.render(event),
            step=config.step,
            queue=config.queue,
            priority=config.priority,
            delay=config.delay,
            key=None if key is None else Exactly(key),
            on_conflict=config.on_conflict,
        )
        return [event | {config.into: task_id}]
