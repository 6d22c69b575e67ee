"""${VARIABLE} in texts: filled in after the YAML was read, and taken out again of what is said about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus, unquote, urlsplit

from howdah.db.failures import without_password
from howdah.errors import InvalidOption, shown

MAX_TEXT = 1_000_000
MAX_TOTAL = 10_000_000

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-(?P<text>[^${}]*))?\}")
_DOLLAR = re.compile(rf"\$\$(?=\{{)|{_VARIABLE.pattern}|\$\{{")
# Shorter values are in too many words by chance. A beginning of a value gives it away where a message was cut, or if it is long.
_SHORTEST, _LONG = 4, 16


class Environment:
    """The variables that texts may name, and the values that were put into some."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._secrets: dict[str, str] = {}  # each way to write a value → the text to show instead
        self._room = MAX_TOTAL

    def fill(self, text: str) -> str:
        """The text with its variables in it: ${NAME}, ${NAME:-default}; $${ is a ${ that is none.

        Any other dollar is a dollar: SQL quotes with two of them.
        A default counts where a variable is missing or empty. Raises InvalidOption that names the variable.
        """
        if "$" not in text:
            return text
        parts: list[str] = []
        size = position = 0
        for found in _DOLLAR.finditer(text):
            parts += [text[position : found.start()], "$" if found[0] == "$$" else self._value(found)]
            position = found.end()
            size += len(parts[-1]) + len(parts[-2])
            if size > min(MAX_TEXT, self._room):
                raise InvalidOption(f"it is longer than {MAX_TEXT:,} characters with the variables in it")
        filled = "".join([*parts, text[position:]])
        self._room -= len(filled)
        return filled

    def redacted(self, text: str) -> str:
        """A message without passwords and without the values that were filled in; ${NAME} stands in their place."""
        if self._secrets:
            longest_first = sorted(self._secrets, key=len, reverse=True)
            text = re.sub("|".join(map(re.escape, longest_first)), lambda found: self._secrets[found[0]], text)
        for value, name in self._secrets.items():
            text = _without_beginnings(text, value, name)
        return without_password(text)

    def _value(self, found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            raise InvalidOption(
                f"{shown(found.string[found.start() : found.start() + 30])} is no variable",
                hint="Write ${NAME} or ${NAME:-default}, and $${ for what is none",
            )
        value = self._variables.get(name)
        if not value and found["default"]:
            return found["text"]
        if value is None:
            raise InvalidOption(
                f"the environment has no variable {name}", hint=f"export {name}=…, or write ${{{name}:-default}}"
            )
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise InvalidOption(f"the variable {name} holds bytes that are not UTF-8")
        self._remember(value, f"${{{name}}}")
        return value

    def _remember(self, value: str, name: str) -> None:
        if value in self._secrets:
            return
        for written in {value, *_passwords(value)}:
            for way in (written, repr(written)[1:-1], quote(written), quote(written, safe=""), quote_plus(written)):
                if len(way) >= _SHORTEST:
                    self._secrets.setdefault(way, name)


def is_variable(text: str) -> bool:
    """Whether a text is nothing but one variable."""
    return _VARIABLE.fullmatch(text) is not None


def _passwords(value: str) -> list[str]:
    try:
        address = urlsplit(value)
        user, password = address.netloc.rpartition("@")[0], address.password or ""
    except ValueError:
        return []
    return [user, password, unquote(password)]


def _without_beginnings(text: str, value: str, name: str) -> str:
    """The text without beginnings of a value, as repr() and slices leave them in a message."""
    start = text.find(value[:_SHORTEST])
    while start >= 0:
        end = start
        while end < len(text) and end - start < len(value) and text[end] == value[end - start]:
            end += 1
        if end - start >= _LONG or text.startswith(("…", "..."), end) or end == len(text):
            text = text[:start] + name + text[end:]
            end = start + len(name)
        start = text.find(value[:_SHORTEST], end)
    return text
