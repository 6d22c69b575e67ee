"""An actor as a kind of task: an object with an inbox, polled again and again until it is done."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from howdah.context import ClaimedTask, Context
from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.inbox import EOF, Inbox, Letter, Misfit
from howdah.kinds import ending
from howdah.kinds.registry import Beginning, Defaults, Executor, executor_of, row
from howdah.outcomes import Again, Done, Join, Outcome, Sleep, Suspend, Transition
from howdah.payload import DEFAULT_MAX_BYTES, Fields, Messages, plain_json
from howdah.templates import check_fields


class ActorKind:
    """What the worker needs to poll an actor, and the client to begin one."""

    transactional = False
    reads_all = False

    def __init__(
        self,
        cls: type[Any],
        *,
        name: str,
        defaults: Defaults,
        inbox: Any = None,
        executor: Executor | None = None,
        max_payload: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self.cls = cls
        self.name = name
        self.defaults = defaults
        self.max_payload = max_payload
        self.fields: Fields[Any] = Fields[Any].of(cls, name=name)
        check_fields(name, defaults.key, defaults.groups, None if self.fields.takes_any else self.fields.keys)
        if "poll" in getattr(cls, "__annotations__", {}):
            raise InvalidOption(f"{name} has a field called poll", hint="That is the method's name: call it otherwise")
        poll = getattr(cls, "poll", None)
        if poll is None:
            raise InvalidOption(f"{name} has no method poll", hint="Write: async def poll(self, ctx, inbox) -> Action")
        self.executor: Executor = executor_of(f"{name}.poll", poll, executor)
        if self.executor == "process":
            raise InvalidOption(
                f"{name}: an actor runs on the loop or in a thread", hint="Spawn a task with executor='process'"
            )
        self._names = _parameters(poll)
        if len(self._names) != 2 or self._names == ["inbox", "ctx"]:
            raise InvalidOption(
                f"{name}.poll takes {', '.join(self._names) or 'nothing'}",
                hint="Write: async def poll(self, ctx, inbox) -> Action",
            )
        inbox = getattr(inbox, "__value__", inbox)  # type Messages = Add | EOF
        members = typing.get_args(inbox) or (inbox,)
        self.takes_eof = EOF in members
        self.messages = None if inbox is None or inbox is EOF else Messages.of(inbox, name=name, leave_out=(EOF,))
        misfit = getattr(cls, "misfit", None)
        self._misfit_names: list[str] | None = None if misfit is None else _parameters(misfit)
        if self._misfit_names is not None:
            executor_of(f"{name}.misfit", misfit, self.executor)
            if len(self._misfit_names) != 2:
                raise InvalidOption(
                    f"{name}.misfit takes {', '.join(self._misfit_names) or 'nothing'}",
                    hint="Write: async def misfit(self, ctx, message: Misfit) -> None",
                )

    @property
    def source(self) -> tuple[str, str]:
        return self.cls.__module__, self.cls.__qualname__

    def at(self, step: str | None) -> ActorKind:
        return self

    def handlers(self) -> tuple[ActorKind]:
        return (self,)

    def check(self) -> None:
        self.fields.schema()  # raises what cannot be resolved

    def row(self) -> dict[str, Any]:
        return row(
            self.name,
            self.defaults,
            executor=self.executor,
            signature=self.fields.schema(),
            inbox=None if self.messages is None else self.messages.schema(),
            description=inspect.getdoc(self.cls),
        )

    # ── beginning ──

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        """The actor's state, as its constructor takes it. Raises InvalidPayload."""
        return Beginning(self.fields.encode_arguments(args, dict(kwargs), max_bytes=self.max_payload), self.defaults)

    def born(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        """The first message, if there is one, and the state by name. Raises InvalidPayload."""
        if len(args) > 1:
            raise InvalidPayload(
                f"{self.name} is spawned with one first message, and {len(args)} were given",
                hint="Its state goes by name",
            )
        message = None if not args else self.encode_message(args[0])
        return Beginning(self.begin((), kwargs).payload, self.defaults, message=message)

    def named(self, step: str | None, fields: Mapping[str, Any]) -> Beginning:
        """The state by name. Raises InvalidPayload, and InvalidOption with a step."""
        if step is not None:
            raise InvalidOption(f"{self.name} has no steps, so it has no step {shown(step)}", hint="Leave step out")
        return Beginning(self.fields.check(fields, max_bytes=self.max_payload), self.defaults)

    def encode_message(self, message: Any) -> str:
        """A message as JSON. Raises InvalidPayload."""
        if self.messages is None:
            raise InvalidPayload(f"{self.name} takes no messages", hint="Declare them: @app.actor(…, inbox=…)")
        return self.messages.encode(message, max_bytes=self.max_payload)

    def check_message(self, text: str) -> None:
        """Whether a message in JSON is one that this actor can read. Raises InvalidPayload."""
        if self.messages is None:
            raise InvalidPayload(f"{self.name} takes no messages", hint="Declare them: @app.actor(…, inbox=…)")
        self.messages.decode(text)

    def encode_result(self, value: Any) -> str | None:
        """What Done was given, as JSON. Raises InvalidPayload."""
        return None if value is None else plain_json(value, f"{self.name}: result", max_bytes=self.max_payload)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        raise InvalidPayload(
            f"{self.name}: Again and Join are for functions", hint="An actor is polled again after Suspend or Sleep"
        )

    def read_result(self, value: Any) -> Any:
        return value

    # ── running ──

    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition:
        """Poll once. Its exceptions pass; what it returns becomes a transition with the new state."""
        try:
            actor = self.fields.decode(task.payload)
            inbox, misfits, consumed = self._open(ctx)
        except InvalidPayload as error:
            return ending.parked(error)
        try:
            for misfit in misfits:
                await ctx.call(actor.misfit, dict(zip(self._misfit_names or (), (ctx, misfit), strict=True)))
            action = await ctx.call(actor.poll, dict(zip(self._names, (ctx, inbox), strict=True)))
        except Outcome as outcome:
            action = outcome
        try:
            return self._transition(task, ctx, actor, inbox, action, consumed)
        except InvalidPayload as error:
            return ending.parked(error)

    def _open(self, ctx: Context) -> tuple[Inbox[Any], list[Misfit], list[int]]:
        """The inbox, the misfits to show, and what is consumed unseen: those, and ends of children it does not ask for.

        Raises InvalidPayload that names the message, if the actor has no method for misfits.
        """
        messages: list[tuple[Letter, Any]] = []
        misfits: list[Misfit] = []
        consumed: list[int] = []
        for letter in ctx.mail.letters if ctx.mail is not None else ():
            if letter.type == "eof":
                if self.takes_eof:
                    messages.append((letter, letter.eof()))
                else:
                    consumed.append(letter.id)
                continue
            try:
                if self.messages is None:
                    raise InvalidPayload(f"{self.name} takes no messages")
                messages.append((letter, self.messages.decode(letter.body)))
            except InvalidPayload as error:
                misfit = Misfit(letter.id, letter.sender, bytes(letter.body).decode(), error.message)
                if self._misfit_names is None:
                    raise _unreadable(misfit, error) from error
                misfits.append(misfit)
                consumed.append(letter.id)
        return Inbox(messages), misfits, consumed

    def _transition(
        self, task: ClaimedTask, ctx: Context, actor: Any, inbox: Inbox[Any], action: Any, consumed: list[int]
    ) -> Transition:
        if isinstance(action, Done):
            return ending.succeeded(self, action.result, consumed=consumed + inbox.taken)
        if not isinstance(action, (Suspend, Sleep)):
            if isinstance(action, (Again, Join)):
                self.encode((), {})
            # Nothing of this poll happened: its state and what it read are not kept, so neither is what it asked for.
            ctx.forget_effects()
            if isinstance(action, Outcome):
                return ending.of_outcome(self, task, self.defaults.retry, action)
            return ending.parked(
                TypeError(f"{self.name}.poll returned {shown(action)}; it ends with Suspend, Sleep or Done")
            )
        transition = Transition(
            "queued",
            payload=self.fields.encode(actor, max_bytes=self.max_payload),
            attempts="reset",
            consumed=consumed + inbox.taken,
            inbox_seq=ctx.mail.inbox_seq if ctx.mail is not None else 0,
        )
        if isinstance(action, Sleep):
            transition.delay = action.delay
        elif not (len(inbox) or (ctx.mail is not None and ctx.mail.more)):
            transition.to = "suspended"
            if isinstance(action.until, timedelta):
                transition.delay = action.until
            else:
                transition.run_at = action.until
        return transition


def _parameters(method: Any) -> list[str]:
    """The names of what a method takes beside the object."""
    return list(inspect.signature(method).parameters)[1:]


def _unreadable(misfit: Misfit, error: InvalidPayload) -> InvalidPayload:
    sender = f"from task {misfit.sender}" if misfit.sender is not None else "from outside"
    return InvalidPayload(
        f"message {misfit.id} {sender} does not fit: {error.message}: {misfit.body:.200}",
        hint=f"Mend it (UPDATE howdah.message SET body = … WHERE id = {misfit.id}) or delete it, then retry",
    )
