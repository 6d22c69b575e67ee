"""email: a message per event, over SMTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Literal

from msgspec import Meta, field

from howdah.context import Context
from howdah.errors import HowdahError
from howdah.outcomes import Fail
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, InvalidField, More
from howdah.pipeline.stages import fields, letter, templating
from howdah.pipeline.stages.smtp import Server

log = logging.getLogger("howdah.pipeline")
MAX_ATTACHED = 20_000_000
Addresses = str | list[str]


class Attachment(stage.Config, frozen=True):
    """A file that goes with a message."""

    path: Annotated[str | None, Meta(description="A template of its path, in the folder of the pipeline's file.")] = (
        None
    )
    content: Annotated[str | None, Meta(description="Or a template of its text.")] = None
    name: Annotated[str | None, Meta(description="A template of its name. Without it: that of the path.")] = None
    outside: Annotated[bool, Meta(description="Whether the path may leave the folder of the pipeline's file.")] = False


class Email(stage.Stage):
    """Sends a message and passes the event on.

    Every attempt sends it under the same Message-ID, by which servers and readers know a message again. What the server
    refuses with 4xx, and no answer, is tried again; 5xx parks the event. If some recipients are refused that is a warning.
    """

    class Config(stage.Config, frozen=True):
        server: Annotated[
            str, Meta(description="host, host:port, smtp://user:password@host:port, or smtps://…", min_length=1)
        ]
        sender: Annotated[str, Meta(description="Whom it is from: a template.", min_length=1)] = field(name="from")
        to: Annotated[
            Addresses, Meta(description="Whom it goes to: a template of one address or {{ list }}, or a list of them.")
        ]
        subject: Annotated[str, Meta(description="A template.")]
        text: Annotated[str | None, Meta(description="The message as text: a template.")] = None
        html: Annotated[
            str | None, Meta(description="The message as a page: a template; what an event puts in is escaped.")
        ] = None
        cc: Annotated[Addresses, Meta(description="Who gets a copy: as to.")] = field(default_factory=list[str])
        bcc: Annotated[Addresses, Meta(description="Who gets a copy unseen: as to.")] = field(default_factory=list[str])
        reply_to: Annotated[Addresses, Meta(description="Where an answer goes: as to.")] = field(
            default_factory=list[str]
        )
        attachments: Annotated[list[Attachment], Meta(description="Files that go with it.", max_length=50)] = field(
            default_factory=list[Attachment]
        )
        tls: Annotated[
            Literal["starttls", "tls", "none"] | None,
            Meta(
                description="Without it: starttls if the server offers it, and in any case with a password; tls from the start "
                "with smtps:// or port 465."
            ),
        ] = None
        username: Annotated[str | None, Meta(description="Who logs in.")] = None
        password: Annotated[str | None, Meta(description="With which password. Write it as ${VARIABLE}.")] = None
        verify: Annotated[bool, Meta(description="Whether the certificate of the server is verified.")] = True
        ca_file: Annotated[
            str | None, Meta(description="A file of authorities to trust beside those of the system.")
        ] = None
        timeout: Annotated[str | float, Meta(description='How long the server may take: "60s", or seconds.')] = "60s"

    config: Config

    @cached_property
    def _server(self) -> Server:
        config = self.config
        ca_file = None if config.ca_file is None else str(self.setting.folder / config.ca_file)
        return Server(
            config.server, tls=config.tls, username=config.username, password=config.password,
            verify=config.verify, ca_file=ca_file,
        )  # fmt: skip

    @cached_property
    def _templates(self) -> letter.Templates:
        config = self.config
        return letter.Templates(
            sender=letter.people(config.sender, "from"),
            to=letter.people(config.to, "to"),
            cc=letter.people(config.cc, "cc"),
            bcc=letter.people(config.bcc, "bcc"),
            reply_to=letter.people(config.reply_to, "reply_to"),
            subject=templating.text(config.subject, "subject"),
            text=None if config.text is None else templating.text(config.text, "text"),
            html=None if config.html is None else templating.text(config.html, "html", "html"),
        )

    @cached_property
    def _attachments(self) -> list[templating.Structure]:
        return [
            templating.structure({"path": one.path, "content": one.content, "name": one.name}, ("attachments", n))
            for n, one in enumerate(self.config.attachments)
        ]

    @cached_property
    def _timeout(self) -> float:
        return fields.length(self.config.timeout, "timeout").total_seconds()

    def check(self) -> None:
        _ = self._server, self._templates, self._attachments
        if not self._timeout:
            raise InvalidField("timeout", "timeout must be longer than nothing", hint='Write "60s"')
        if self.config.text is None and self.config.html is None:
            raise InvalidField("text", "there is nothing to send", hint="Write text, html or both")
        for n, one in enumerate(self.config.attachments):
            if (one.path is None) == (one.content is None):
                raise InvalidField(
                    ("attachments", n), "an attachment has a path or a content", hint="Write one of them"
                )
            if one.path is None and one.name is None:
                raise InvalidField(("attachments", n, "name"), "a content needs a name")

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        written = self._templates.write(event, ctx.idempotency_key)
        if self._attachments:
            await asyncio.to_thread(self._attach, written, event)
        refused = await self._server.send(written.message, written.sender, written.recipients, self._timeout)
        for recipient, answer in refused.items():
            log.warning(
                "%s.%s: %s refused %s: %s", self.setting.pipeline, self.setting.stage, self._server, recipient, answer
            )
        return [event]

    def _attach(self, written: letter.Letter, event: Event) -> None:
        room = MAX_ATTACHED
        for n, (template, one) in enumerate(zip(self._attachments, self.config.attachments, strict=True)):
            made, where = template.render(event), f"attachments[{n}]"
            content, name = made["content"], made["name"]
            if made["path"] is not None:
                try:
                    path = fields.inside(self.setting.folder, str(made["path"]), outside=one.outside)
                except HowdahError as error:
                    raise Fail(f"{where}: {error}") from None
                with path.open("rb") as file:
                    content = file.read(room + 1)
                name = path.name if name is None else name
            content = content if isinstance(content, bytes) else str(content)
            room -= len(content)
            if room < 0:
                raise Fail(f"{where}: what is attached is bigger than the {MAX_ATTACHED:,} bytes allowed")
            written.attach(content, fields.one_line(str(name), f"{where}.name"))
