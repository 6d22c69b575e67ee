"""What is in one file."""

import ast
import re
import threading
from collections import Counter
from importlib.util import decode_source

from howdah import Fail

parser = threading.Lock()  # CPython 3.11: ast.parse in two threads at once may raise SystemError


def read(path: str, content: bytes) -> tuple[str, int, int, Counter[str]]:
    """Its text, how many functions and classes it has, and its names. Raises UnicodeError, and Fail for broken syntax."""
    text = _text(path, content)
    return text, *(_python(path, text) if path.endswith(".py") else _prose(text))


def _text(path: str, content: bytes) -> str:
    try:
        return decode_source(content) if path.endswith(".py") else content.decode()
    except SyntaxError as error:  # of the line that names the encoding
        raise UnicodeError(str(error)) from None


def _python(path: str, text: str) -> tuple[int, int, Counter[str]]:
    try:
        with parser:
            tree = ast.parse(text, filename=path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # No use to try again: Fail parks it at once.
        raise Fail(f"broken syntax: {error}") from error
    functions, classes = 0, 0
    names: Counter[str] = Counter()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                names[name] += 1
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                functions += 1
            case ast.ClassDef():
                classes += 1
            case _:
                pass
    return functions, classes, names


def _prose(text: str) -> tuple[int, int, Counter[str]]:
    return 0, 0, Counter(re.findall(r"[^\W\d]\w{2,}", text))
