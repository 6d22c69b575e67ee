"""completion: what a shell needs to complete our commands and options."""

from __future__ import annotations

from typing import Literal

from howdah.cli.commands import shell


def completion(name: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion script of a shell."""
    print(shell().generate_completion(shell=name))
