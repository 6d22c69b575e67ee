"""The shell `howdah`. One module per group of commands, imported when one of them runs."""

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    from howdah.cli.errors import guarded

    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(guarded(given))
