"""Instruction: what a poll returns. Anything JSON can hold; its key tells it from others."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

from howdah.errors import shown
from howdah.poller.errors import InvalidInstruction

_LONGEST_KEY = 300


def instruction_key(instruction: Any) -> str:
    """Text that is the same for the same instruction, whatever the order of its fields.

    Text and numbers are as they are written, so that 7 and "7" are one instruction; all else is compact JSON with sorted
    fields. More than 300 characters become `sha256:` and their digest. Raises InvalidInstruction if JSON cannot hold it.

    >>> [instruction_key(instruction) for instruction in (7, "new york", [7, None], {"to": 7, "at": 1.5})]
    ['7', 'new york', '[7,null]', '{"at":1.5,"to":7}']
    """
    try:
        _check_fields(instruction)
        text = json.dumps(instruction, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        key = str.__str__(instruction) if isinstance(instruction, str) else text
        utf8 = key.encode()  # Half of a surrogate pair is no text.
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInstruction(
            f"instruction {shown(instruction)} is nothing JSON can hold: {error}",
            hint="Return numbers, text, lists or dicts of them; an id is enough",
            instruction=instruction,
        ) from error
    return key if len(key) <= _LONGEST_KEY else f"sha256:{hashlib.sha256(utf8).hexdigest()}"


def _check_fields(value: Any) -> None:
    """json would write the field 1 as "1", where it may be twice."""
    if isinstance(value, dict):
        for field, item in cast("dict[Any, Any]", value).items():
            if not isinstance(field, str):
                raise TypeError(f"the field {shown(field)} is not text")
            _check_fields(item)
    elif isinstance(value, (list, tuple)):
        for item in cast("list[Any]", value):
            _check_fields(item)
