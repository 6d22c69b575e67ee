"""Templates of keys and groups: names with fields of the payload put in, `tenant:{tenant_id}`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from howdah.errors import InvalidOption, InvalidPayload, shown

_PART = re.compile(r"\{([^{}]*)\}|[^{}]+|[{}]")


class Template:
    """A name with `{field}` in it for fields of the payload. `howdah.filled` does the same in the database.

    Raises InvalidOption if the braces do not fit together.

    >>> Template("tenant:{tenant_id}", "group").filled({"tenant_id": 7})
    'tenant:7'
    """

    __slots__ = ("fields", "text", "what")

    def __init__(self, text: str, what: str) -> None:
        self.text = text
        self.what = what
        parts = list(_PART.finditer(text))
        for part in parts:
            if part[0] in ("{", "}", "{}"):
                raise InvalidOption(
                    f"{what} {shown(text)} has a brace that stands for nothing",
                    hint="Write {name} for a field of the payload",
                )
        self.fields = [part[1] for part in parts if part[1] is not None]

    def filled(self, payload: dict[str, Any]) -> str:
        """The name for this payload. Raises InvalidPayload that names the field."""
        return _PART.sub(lambda part: self._piece(part, payload), self.text)

    def _piece(self, part: re.Match[str], payload: dict[str, Any]) -> str:
        if part[1] is None:
            return part[0]
        value = payload.get(part[1])
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (str, int)):
            return str(value)
        what = "missing" if part[1] not in payload else shown(value)
        raise InvalidPayload(
            f"{part[1]} of the payload is {what}, and the {self.what} {self.text} is made of it",
            hint="It must be text, a whole number, true or false",
        )


def filled(template: str | None, payload: str, what: str) -> str | None:
    """A template with the fields of a payload, which is JSON text. Raises InvalidPayload, InvalidOption."""
    if template is None or "{" not in template:
        return template
    return Template(template, what).filled(msgspec.json.decode(payload))


def filled_groups(templates: tuple[str, ...], payload: str) -> list[str] | None:
    """The groups of a task, sorted; None for none. Raises InvalidPayload."""
    return sorted({str(filled(template, payload, "group")) for template in templates}) or None
