"""Cron expressions: read, checked, and walked along the clock on the wall, which has neither gaps nor folds.

Five fields, or six with the seconds first, or @daily and the like. cronsim does the walking; what it takes and does not mean,
or does not say clearly, is refused here.
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from cronsim import CronSim, CronSimError

from howdah.errors import InvalidOption, nearest, shown

LONGEST_CRON = 200  # characters

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

# Who asks for later asks for nothing: what a datetime holds ends soon after.
LAST_YEAR = 9998


class _Field(NamedTuple):
    name: str
    lowest: int
    highest: int
    words: tuple[str, ...] = ()  # the first means `lowest`

    @property
    def range(self) -> str:
        return f"{self.lowest}-{self.highest}" + (f" or {self.words[0]}-{self.words[-1]}" if self.words else "")

    def number(self, text: str) -> int:
        """Raises _Fault."""
        if text in self.words:
            return self.lowest + self.words.index(text)
        if not text.isdecimal():
            raise _Fault(f"the {self.name} cannot be read: {text}", f"It is {self.range}")
        if not self.lowest <= int(text) <= self.highest:
            raise _Fault(f"the {self.name} must be {self.range}, not {text}")
        return int(text)


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    _Field("day of the week", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)
_DAY, _WEEKDAY = _FIELDS[3], _FIELDS[5]
_TERM = re.compile(r"(?:\*|([0-9]+|[A-Z]{3})(?:-([0-9]+|[A-Z]{3}))?)(?:/([0-9]+))?")
_NTH = re.compile(r"([0-9]+|[A-Z]{3})#([0-9]+)|([0-9]+)L")
_EXAMPLE = 'Write "30 3 * * 1-5" for 03:30 from Monday to Friday; with six fields the seconds come first'


class _Fault(Exception):
    """What is wrong with a field, as the rest of a sentence, and what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Expression:
    """`by_the_clock`: both its minute and its hour are named, so that it means the clock and not every so many minutes."""

    start: CronSim
    by_the_clock: bool

    def next(self, wall: datetime) -> datetime | None:
        """The next matching time on the wall; None if there is none in 50 years or in what a datetime holds."""
        walk = copy(self.start)  # A fifth of the price of parsing.
        walk.dt = wall
        try:
            found = next(walk)
        except (StopIteration, OverflowError):
            return None
        return found if found.year < LAST_YEAR else None


def checked(cron: Any) -> str:
    """A cron expression as it is kept, one space between two fields."""
    if not isinstance(cron, str):
        raise InvalidOption(f"cron must be text, not {shown(cron)}", hint=_EXAMPLE)
    if len(cron) > LONGEST_CRON:
        raise InvalidOption(f"cron is longer than {LONGEST_CRON} characters: {shown(cron)}", hint=_EXAMPLE)
    cron = " ".join(cron.split())
    expression(cron)
    return cron


@lru_cache(maxsize=1024)
def expression(cron: str) -> Expression:
    """An expression, ready to walk. Raises InvalidOption that names the field."""
    said = f'cron "{cron if cron.isprintable() else repr(cron)[1:-1]}"'
    parts = _alias(cron, said).split() if cron.startswith("@") else cron.upper().split()
    if len(parts) not in (5, 6):
        count = f"{len(parts)} field" + "s" * (len(parts) != 1)
        hint = "There is no field for the year: give start and end" if len(parts) == 7 else _EXAMPLE
        raise InvalidOption(f"{said}: it has {count}, not 5, or 6 with the seconds first", hint=hint)
    try:
        read = [_read(part, field) for part, field in zip(parts, _FIELDS[-len(parts) :], strict=True)]
        sim = CronSim(" ".join(read), datetime(2000, 1, 1))
    except _Fault as fault:
        raise InvalidOption(f"{said}: {fault}", hint=fault.hint or _EXAMPLE) from None
    except CronSimError:  # What is left: it looks at the fields together for this alone.
        raise InvalidOption(
            f"{said} never fires: none of its months has such a day", hint="L is the last day"
        ) from None
    return Expression(sim, not any(part.startswith("*") for part in read[-5:-3]))


def _alias(cron: str, said: str) -> str:
    word = cron.split()[0].lower()
    if word == cron.lower() and word in ALIASES:
        return ALIASES[word]
    close = nearest(word, ALIASES, cutoff=0.5)
    hint = {
        "@every": 'Write every="10s" instead of cron',
        "@reboot": "A schedule goes by the clock; enqueue the task where the program starts",
    }.get(word, f"Did you mean {close}?" if close else f"There are {', '.join(ALIASES)}")
    raise InvalidOption(f"{said} is not known", hint=hint)


def _read(part: str, field: _Field) -> str:
    """A field as cronsim is given it. Raises _Fault."""
    return ",".join(_read_term(term, part, field) for term in part.split(","))


def _read_term(term: str, part: str, field: _Field) -> str:
    if (field is _DAY and term in ("L", "LW")) or (field is _WEEKDAY and _nth(term)):
        return term
    found = _TERM.fullmatch(term)
    if found is None:
        raise _Fault(f"the {field.name} cannot be read: {term or part}", _remedy(term, field))
    first, last, step = found.groups()
    if step is not None and not 1 <= int(step) <= field.highest:
        long = step.strip("0") and field.name in ("second", "minute", "hour")
        unit = field.name[0]
        raise _Fault(
            f"the step of the {field.name} must be 1-{field.highest}, not {step}",
            f'Steps begin anew with each turn of the field; write every="{step}{unit}" instead of cron'
            if long
            else None,
        )
    if first is None:
        return term
    low = field.number(first)
    if last is None:
        return term
    high = field.number(last)
    if high < low:
        raise _Fault(
            f"the {field.name} goes backwards: {first}-{last}",
            f"Write {first}-{field.highest},{field.lowest}-{last}",
        )
    # cronsim takes 5-5/10 for 5/10, which is 5,15,25 and so on.
    return first if high == low else term


def _nth(term: str) -> bool:
    """Whether it is the nth (2#3, TUE#3) or last (5L) such day of the month. Raises _Fault."""
    found = _NTH.fullmatch(term)
    if found is None:
        return False
    day, nth, last = found.groups()
    _WEEKDAY.number(day or last)
    if nth is not None and not 1 <= int(nth) <= 5:
        raise _Fault(f"what follows # must be 1-5, not {nth}", "TUE#3 is the third Tuesday of a month")
    return True


def _remedy(term: str, field: _Field) -> str:
    if term == "?":
        return "Write * instead of ?"
    if field is _DAY and re.search("[LW]", term):
        return "L is the last day of the month, LW its last weekday; nothing else is known of L and W"
    if field is _WEEKDAY and "L" in term:
        return "5L is the last Friday of the month"
    return f"It is {field.range}"
