"""A function in a user's module: looked for without running anything of it, and imported when it is needed."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from functools import reduce
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from howdah.errors import HowdahError, nearest, shown
from howdah.pipeline.stage import InvalidField


class Source:
    """`module:name`, seen from a folder."""

    def __init__(self, folder: Path, module: str, name: str) -> None:
        self.folder = folder.resolve()
        self.module = module
        self.name = name

    def check(self) -> None:
        """Raises InvalidField if there is no such module, its text is no Python, or nothing in it is called so."""
        if not all(part.isidentifier() for part in (*self.module.split("."), *self.name.split("."))):
            written = f"{self.module}:{self.name}".rstrip(":")
            raise InvalidField("function", f"function is {shown(written)}", hint='Write "module:function"')
        found = self._find()
        if found is None or not found.endswith(".py"):
            return  # written in C, or part of Python: importing it will tell
        names = _names_of(Path(found), self.folder)
        first = self.name.split(".")[0]
        if names is not None and first not in names:
            raise InvalidField("function", f"{_short(found, self.folder)} has no {first}", hint=_nearest(first, names))

    def load(self) -> Any:
        """The function. Raises what importing its module raises, HowdahError if another module has its name."""
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        found = self._find()
        importlib.invalidate_caches()
        module = importlib.import_module(self.module)
        origin = getattr(module, "__file__", None)
        if found is not None and origin is not None and Path(origin).resolve() != Path(found).resolve():
            raise HowdahError(
                f"{found} cannot be imported: {origin} is, under the same name {self.module}", hint="Rename one of them"
            )
        try:
            return reduce(getattr, self.name.split("."), module)
        except AttributeError as error:
            raise HowdahError(f"{self.module} has no {self.name}: {error}") from None

    def _find(self) -> str | None:
        """The file of the module; None if it has none. Raises InvalidField if there is no such module."""
        importlib.invalidate_caches()
        inside: list[str] | None = None
        spec: ModuleSpec | None = None
        parts = self.module.split(".")
        for n in range(len(parts)):
            name = ".".join(parts[: n + 1])
            spec = self._spec(name, inside)
            if spec is None:
                known = _modules_in([str(self.folder)] if inside is None else inside)
                raise InvalidField("function", f"there is no module {name}", hint=_nearest(parts[n], known))
            inside = list(spec.submodule_search_locations or [])
        return spec.origin if spec is not None and spec.has_location else None

    def _spec(self, name: str, inside: list[str] | None) -> ModuleSpec | None:
        if inside is None and (ours := PathFinder.find_spec(name, [str(self.folder)])) is not None:
            return ours
        for finder in sys.meta_path:  # as Python does it, without importing the packages on the way
            if (spec := finder.find_spec(name, inside)) is not None:
                return spec
        return None


def _names_of(file: Path, folder: Path) -> set[str] | None:
    """The names a module has once it is imported; None if that cannot be known without importing it."""
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise InvalidField("function", f"{_short(str(file), folder)}:{error.lineno}: {error.msg}") from None
    except (OSError, ValueError, RecursionError):
        return None
    names = set(_names_in(tree.body))
    return None if "*" in names or "__getattr__" in names else names


def _names_in(body: list[ast.stmt]) -> Iterator[str]:
    """Whatever a module may bind: rather a name too many than one that is refused and would be there."""
    for statement in body:
        defined = isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        for part in [statement] if defined else ast.walk(statement):
            match part:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    yield name
                case ast.Name(id=name):
                    yield name
                case ast.Import(names=imported) | ast.ImportFrom(names=imported):
                    yield from (alias.asname or alias.name.split(".")[0] for alias in imported)
                case _:
                    pass


def _modules_in(folders: list[str]) -> set[str]:
    return {path.stem for folder in folders for path in Path(folder).glob("*.py")}


def _nearest(name: str, known: set[str]) -> str | None:
    close = nearest(name, known)
    return f"Did you mean {close}?" if close else None


def _short(file: str, folder: Path) -> str:
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file
