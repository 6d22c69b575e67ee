"""The text of a SQL statement, as far as a pipeline must understand it: what is quoted, and where a colon means a parameter."""

from __future__ import annotations

import re

_QUOTED = re.compile(
    r"""
    (?<!\w) [eE] ' (?: [^'\\] | \\. | '' )* '      # PostgreSQL's text with escapes
    | ' (?: [^'] | '' )* '
    | " (?: [^"] | "" )* "
    | ` [^`]* `
    | (?<!\w) \$ (?P<tag> [A-Za-z_]\w* | ) \$ .*? \$ (?P=tag) \$
    | -- [^\n]*
    | /\* .*? \*/
    """,
    re.VERBOSE | re.DOTALL,
)


def prepared(query: str) -> str:
    """The statement as SQLAlchemy reads it: :name is a parameter, but not in what is quoted; name::type is a cast."""
    pieces: list[str] = []
    end = 0
    for quoted in _QUOTED.finditer(query):
        pieces += [query[end : quoted.start()].replace("::", r"\:\:"), re.sub(r"(?<!\\):", r"\:", quoted[0])]
        end = quoted.end()
    return "".join([*pieces, query[end:].replace("::", r"\:\:")])


def is_several(query: str) -> bool:
    """Whether something follows a semicolon. A definition (CREATE TRIGGER … BEGIN …; END) may have many in it."""
    bare = _bare(query)
    return ";" in bare.strip().rstrip("; \t\r\n") and not bare.lower().startswith("create")


def is_select(query: str) -> bool:
    """Whether it only reads, as far as its words say, so that its rows can be fetched piece by piece."""
    return re.match(r"\(*\s*(select|table|values)\b(?!.*\binto\b)", _bare(query), re.IGNORECASE | re.DOTALL) is not None


def _bare(query: str) -> str:
    """Without comments and whatever is quoted."""
    return _QUOTED.sub(lambda quoted: "" if quoted[0].startswith(("--", "/*")) else "''", query).strip()
