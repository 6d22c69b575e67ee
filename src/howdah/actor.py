"""Actor: what `@app.actor` makes of a class. Call it for an object of the class, or enqueue it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, Unpack, overload

from howdah.client import Client
from howdah.context import Context
from howdah.enqueue import Bound
from howdah.inbox import Inbox
from howdah.kinds.actor import ActorKind
from howdah.options import Given, OnConflict, Options, options
from howdah.outcomes import Done, Sleep, Suspend
from howdah.task import Task

Action = Suspend | Sleep | Done


class Polls(Protocol):
    """A class whose objects are actors."""

    def poll(self, ctx: Context, inbox: Inbox[Any], /) -> Any: ...


S = TypeVar("S", bound=Polls)


class Actor(Bound[..., Any, Task[Any]], Generic[S]):
    """An actor: a task with state, an inbox and children. `enqueue` takes the state, as the class's constructor does.

    Its arguments are checked when it is called: a type checker applies decorators before it knows what the constructor of
    a dataclass takes.
    """

    def __init__(self, client: Client, kind: ActorKind) -> None:
        super().__init__(client, kind, Options())
        self.name = kind.name
        self.kind = kind
        self.cls: type[S] = kind.cls
        self.__doc__ = kind.cls.__doc__
        self.__name__ = kind.cls.__name__
        self.__qualname__ = kind.cls.__qualname__
        self.__module__ = kind.cls.__module__
        self.__wrapped__ = kind.cls

    if TYPE_CHECKING:
        __call__: type[S]
    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """An object of the class itself: no task."""
            return self.cls(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<actor {self.name}>"

    @overload
    def using(
        self, *, on_conflict: Literal["return", "raise", "replace", "merge"] | None = None, **given: Unpack[Given]
    ) -> Bound[..., Any, Task[Any]]: ...
    @overload
    def using(self, *, on_conflict: OnConflict, **given: Unpack[Given]) -> Bound[..., Any, Task[Any] | None]: ...
    def using(self, **given: Any) -> Any:
        """The same actor with other options, for the next enqueue or spawn; see TaskFunction.using."""
        return Bound[..., Any, Any](self._client, self.kind, options(**given))


class RegisterActor:
    """What `@app.actor(…)` returns: it makes an Actor of a class."""

    def __init__(self, register: Callable[[Any], Actor[Any]]) -> None:
        self._register = register

    def __call__(self, cls: type[S]) -> Actor[S]:
        return self._register(cls)
