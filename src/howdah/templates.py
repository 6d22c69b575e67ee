"""Templates of keys and groups: names with fields of the payload put in, `tenant:{tenant_id}`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from howdah.errors import InvalidOption, InvalidPayload, nearest, shown

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


class Exactly(str):
    """A key that is no template, whatever braces it has: it was made of somebody's data."""

    __slots__ = ()


def filled(template: str | None, payload: str, what: str) -> str | None:
    """A template with the fields of a payload, which is JSON text. Raises InvalidPayload, InvalidOption."""
    if template is None:
        return None
    if isinstance(template, Exactly) or not has_fields(template):
        return str(template)
    return Template(template, what).filled(msgspec.json.decode(payload))


def filled_groups(templates: tuple[str, ...], payload: str) -> list[str] | None:
    """The groups of a task, sorted; None for none. Raises InvalidPayload."""
    return sorted({str(filled(template, payload, "group")) for template in templates}) or None


def has_fields(template: str) -> bool:
    """Whether it is another name for each payload."""
    return not isinstance(template, Exactly) and "{" in template


class Filling:
    """The names of many tasks of one kind: their key, and their groups."""

    def __init__(self, key: str | None, groups: Iterable[str]) -> None:
        self._key = None if key is None else Template(key, "key") if has_fields(key) else str(key)
        self._groups = [Template(group, "group") if has_fields(group) else group for group in groups]
        self.differs = any(isinstance(name, Template) for name in (self._key, *self._groups))

    def names(self, payload: str) -> tuple[str | None, list[str] | None]:
        """The key and the groups of the task with this payload, which is JSON text. Raises InvalidPayload."""
        fields: dict[str, Any] = msgspec.json.decode(payload) if self.differs else {}
        key, *groups = (
            name.filled(fields) if isinstance(name, Template) else name for name in (self._key, *self._groups)
        )
        return key, sorted({group for group in groups if group is not None}) or None


def fields_of(key: str | None, groups: Iterable[str]) -> list[tuple[str, str, str]]:
    """What these templates are made of: each field, with what its template is and says."""
    templates = [("key", key)] * (key is not None) + [("group", group) for group in groups]
    return [(field, what, text or "") for what, text in templates for field in Template(text or "", what).fields]


def check_fields(name: str, key: str | None, groups: Iterable[str], fields: frozenset[str] | None) -> None:
    """The fields that the templates of a kind name must be there. `fields` None: there may be any.

    Raises InvalidOption that names the template and the field.
    """
    for field, what, template in fields_of(key, groups):
        if fields is None or field in fields:
            continue
        close = nearest(field, fields)
        known = ", ".join(sorted(fields)) or "none"
        raise InvalidOption(
            f"{name}: its {what} {shown(template)} is made of {field}, and it has no such field",
            hint=f"Did you mean {{{close}}}?" if close else f"Its fields: {known}",
        )
