"""file: files of a folder and lines of a log as events; and the content of a file that an event names."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Iterable
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from howdah.context import Context
from howdah.errors import HowdahError, shown
from howdah.outcomes import Fail
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, InvalidField, More, Polled
from howdah.pipeline.stages import fields, lines, templating
from howdah.pipeline.stages.folder import Folder
from howdah.pipeline.stages.lines import Position

MAX_EVENTS = 1_000
MAX_READ = 1_000_000
_WHERE = "_lines"


class File(stage.Polling):
    """A source with `watch` or `tail`, a stage with `lines` or `read`.

    Paths begin at the folder of the pipeline's file, and neither .. nor a link leads out of it without `outside`. What is no
    text of the given encoding becomes U+FFFD.
    """

    inputs = "optional"

    class Config(stage.Config, frozen=True):
        watch: Annotated[
            str | None, Meta(description="A folder: each new or changed file becomes {path, name, size, modified}.")
        ] = None
        tail: Annotated[
            str | None, Meta(description="A file that grows: each complete new line becomes {path, line, text}.")
        ] = None
        lines: Annotated[
            str | None,
            Meta(description="A template of a path: each line becomes the event with {line, text} in it."),
        ] = None
        read: Annotated[
            str | None, Meta(description="A template of a path: the event goes on with its content as {text}.")
        ] = None
        pattern: Annotated[
            str,
            Meta(
                description='Which names are watched: "*.csv". Hidden files only if it begins with a dot.', min_length=1
            ),
        ] = "*"
        recursive: Annotated[bool, Meta(description="Whether folders within the folder are watched.")] = False
        settle: Annotated[
            str | float, Meta(description="For how long a watched file must not have changed before it counts.")
        ] = "1s"
        every: Annotated[str | float, Meta(description='How often to look: "1s", or seconds.')] = "1s"
        start: Annotated[
            Literal["beginning", "end"],
            Meta(description="Where tail begins in a file that it sees for the first time."),
        ] = "beginning"
        encoding: Annotated[str, Meta(description="How the text is encoded.")] = "utf-8"
        outside: Annotated[bool, Meta(description="Whether paths may leave the folder of the pipeline's file.")] = False

    config: Config

    @cached_property
    def _path(self) -> templating.Text:
        field = "lines" if self.config.lines is not None else "read"
        return templating.text(self.config.lines or self.config.read or "", field)

    @cached_property
    def _root(self) -> Path:
        return self.setting.folder.resolve()

    @cached_property
    def _every(self) -> float:
        return fields.length(self.config.every, "every").total_seconds()

    @cached_property
    def _folder(self) -> Folder:
        config = self.config
        return Folder(
            config.pattern,
            recursive=config.recursive,
            settle=fields.length(config.settle, "settle").total_seconds(),
            root=None if config.outside else self._root,
        )

    def check(self) -> None:
        config = self.config
        given = [name for name in ("watch", "tail", "lines", "read") if getattr(config, name) is not None]
        if len(given) != 1:
            said = f"{given[0]} and {given[1]} were both given" if given else "it does not say what to do"
            raise InvalidField(given[1] if given else "watch", said, hint="Give one of watch, tail, lines and read")
        if self.setting.fed is not None and self.setting.fed != (given[0] in ("lines", "read")):
            what = (
                "is for events of other stages, and has no inputs"
                if not self.setting.fed
                else "is a source, and has inputs"
            )
            raise InvalidField(
                given[0], f"{given[0]} {what}", hint="Give watch or tail without inputs, lines or read with them"
            )
        _ = self._path, self._folder
        if self._every < 0.05:
            raise InvalidField("every", "every must be at least 50ms")
        if "/" in config.pattern:
            raise InvalidField("pattern", "pattern is of names, without folders", hint="Put the folder into watch")
        if config.watch is not None or config.tail is not None:
            try:
                self._inside(config.watch or config.tail or "")
            except HowdahError as error:
                raise InvalidField(given[0], error.message, hint=error.hint) from None
        try:
            if "\n".encode(codecs.lookup(config.encoding).name) != b"\n":
                raise InvalidField(
                    "encoding", f"lines of {config.encoding} cannot be found", hint="Convert the file to UTF-8"
                )
        except (LookupError, TypeError):
            raise InvalidField("encoding", f"there is no encoding {shown(config.encoding)}") from None

    # ── as a source ──

    async def poll(self, state: Any) -> Polled:
        """Files that came, or lines that were written, since the state."""
        if self.config.watch is not None:
            return await asyncio.to_thread(self._watched, self.config.watch, state)
        if self.config.tail is not None:
            return await asyncio.to_thread(self._tailed, self.config.tail, state)
        raise HowdahError("file with lines or read needs inputs: events that name files")

    def _watched(self, folder: str, state: Any) -> Polled:
        seen = state if isinstance(state, str) else ""
        found, seen, more = self._folder.look(self._inside(folder), seen, MAX_EVENTS)
        return Polled([one.event(self._root) for one in found], seen, 0 if more else self._every)

    def _tailed(self, path: str, state: Any) -> Polled:
        try:
            file = lines.opened(self._inside(path))
        except FileNotFoundError:
            # One that is not there yet is read from its beginning, one that is between two stays where it is.
            return Polled([], state or {}, self._every)
        with file:
            start = self._start(file, state)
            read = list(lines.taken(file, start, self.config.encoding, whole=False))
            after = read[-1].after if read else start
            mark = lines.tail_mark(file, after.offset)
        events = [{"path": path, "line": line.number, "text": line.text} for line in read]
        remembered = _builtins(Position(after.offset, after.line, mark))
        return Polled(events, remembered, 0 if lines.is_full(read, start) else self._every)

    def _start(self, file: BufferedReader, state: Any) -> Position:
        if state is None:
            return Position(lines.end_of_lines(file)) if self.config.start == "end" else Position()
        start = msgspec.convert(state, Position)
        return start if start.mark == lines.tail_mark(file, start.offset) else Position()

    # ── as a stage ──

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        if self.config.lines is None and self.config.read is None:
            raise Fail("file with watch or tail is a source: it takes no inputs")
        try:
            return await asyncio.to_thread(self._lines if self.config.read is None else self._read, event)
        except HowdahError as error:
            raise Fail(f"{'.'.join(map(str, self._path.path))}: {error}") from None

    def _read(self, event: Event) -> list[Event]:
        with lines.opened(self._inside(self._path.render(event))) as file:
            read = file.read(MAX_READ + 1)
        if len(read) > MAX_READ:
            raise HowdahError(f"it is bigger than {MAX_READ:,} bytes", hint="Write lines instead")
        return [event | {"text": lines.decoded(read.removeprefix(codecs.BOM_UTF8), self.config.encoding)}]

    def _lines(self, event: Event) -> list[Event] | More:
        event = dict(event)
        try:
            start = msgspec.convert(event.pop(_WHERE, {}), Position)
        except msgspec.ValidationError:
            raise HowdahError(f"the event has a field {_WHERE}, which is ours") from None
        with lines.opened(self._inside(self._path.render(event))) as file:
            version = lines.version(file)
            if start.mark not in ("", version):
                raise HowdahError(f"it changed after {start.line} lines of it were read")
            read = list(lines.taken(file, start, self.config.encoding, whole=True))
        events = [event | {"line": line.number, "text": line.text} for line in read]
        if not lines.is_full(read, start):
            return events
        after = read[-1].after
        return More(events, event | {_WHERE: _builtins(Position(after.offset, after.line, version))})

    def _inside(self, path: str) -> Path:
        return fields.inside(self.setting.folder, path, outside=self.config.outside)


def _builtins(position: Position) -> dict[str, Any]:
    return msgspec.to_builtins(position)
