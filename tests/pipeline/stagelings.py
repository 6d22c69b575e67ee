"""Modules for the tests of the reader: small, and independent of those that howdah brings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from howdah.errors import HowdahError, MissingExtra
from howdah.pipeline import stage
from howdah.pipeline.modules import PIP, Modules
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages import fields


class Clock(stage.Scheduled):
    """A source."""

    class Config(stage.Config, frozen=True):
        at: str = "0 * * * *"
        every: str | float = "1m"
        payload: dict[str, Any] = msgspec.field(default_factory=dict)


class Step(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    times: int = 1


class Fetch(stage.Stage):
    """Needs events."""

    class Config(stage.Config, frozen=True):
        url: Annotated[str, msgspec.Meta(description="Where.")]
        port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
        wait: str | float = "1s"
        ratio: float = 1.0
        verify: bool = True
        method: Literal["get", "post"] = "get"
        headers: dict[str, str] = msgspec.field(default_factory=dict)
        steps: list[Step] = msgspec.field(default_factory=list)
        body: Any = None

    config: Config

    def check(self) -> None:
        fields.length(self.config.wait, "wait")
        if not self.config.url.startswith(("http:", "https:")):
            raise InvalidField("url", f"no driver for {self.config.url!r}")
        if self.config.headers.get("Accept") == "nonsense":
            raise InvalidField(("headers", "Accept"), "it is no media type")
        if "conflict" in self.config.url:
            raise HowdahError("it does not add up")


class Either(stage.Polling):
    """Takes events, or makes its own."""

    inputs = "optional"


class Idle(stage.Stage):
    """May do without events, and then does nothing."""

    inputs = "optional"


class Broken(stage.Stage):
    """A module with a mistake in it."""

    def check(self) -> None:
        _ = 1 / 0


class _Modules(Modules):
    def get(self, name: str) -> type[stage.Stage]:
        if name == "needy":
            raise MissingExtra("the module needy needs the package needed", hint=PIP)
        return super().get(name)


MODULES = _Modules(clock=Clock, fetch=Fetch, either=Either, broken=Broken, idle=Idle)

SECRET = "postgresqlx://howdah:sesame-open-up@db.example/prod"
ENVIRONMENT = {
    "HOST": "http://example",
    "PORT": "8080",
    "WORD": "eight thousand",
    "RATIO": "0.5",
    "YES": "true",
    "QUEUE": "mail",
    "EMPTY": "",
    "JSON": '{"Accept": "x"}',
    "YAML": "a\n    module: broken\n  evil: {module: broken}",
    "SECRET": SECRET,
}
