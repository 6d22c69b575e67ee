"""A mail message from templates, in which no value of an event can add a header or a recipient."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from pathlib import PurePath
from typing import Any, cast
from urllib.parse import quote

from howdah.errors import shown
from howdah.outcomes import Fail
from howdah.pipeline.stage import Event, InvalidField
from howdah.pipeline.stages import fields, templating

MAX_RECIPIENTS = 1_000
_NAMED = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>\s*")
_ADDRESS = re.compile(r"""[^\s<>()\[\],;:"\\@]+@[^\s<>()\[\],;:"\\@]+""")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message and its envelope."""

    message: EmailMessage
    sender: str
    recipients: list[str]

    def attach(self, content: bytes | str, name: str) -> None:
        """Add a file; its type is that of its name."""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        main, _, sub = kind.partition("/")
        filename = PurePath(name).name
        if isinstance(content, str) and main == "text":
            self.message.add_attachment(content, subtype=sub, filename=filename)
            return
        content = content.encode() if isinstance(content, str) else content
        self.message.add_attachment(content, maintype=main, subtype=sub, filename=filename)


class People:
    """Templates of addresses under one field."""

    def __init__(self, source: str | list[str], field: str) -> None:
        self._field = field
        self._fixed: list[Address] = []
        self._templates: list[templating.Structure] = []
        for n, text in enumerate([source] if isinstance(source, str) else source):
            path = (field,) if isinstance(source, str) else (field, n)
            if "{" in text:
                self._templates.append(templating.structure(text, path))
                continue
            try:
                # Nobody but the writer of the file had a hand in it: here a comma means one more.
                self._fixed += [_address(f"{name} <{address}>", field) for name, address in getaddresses([text])]
            except Fail as fault:
                raise InvalidField(path, fault.reason.partition(": ")[2]) from None

    def render(self, event: Event) -> list[Address]:
        """The addresses. What a template makes is one, or a list of such. Raises Fail."""
        found = list(self._fixed)
        for template in self._templates:
            made = template.render(event)
            found += [
                _address(one, self._field) for one in (cast("list[Any]", made) if isinstance(made, list) else [made])
            ]
        return found


def people(source: str | list[str], field: str) -> People:
    """Raises InvalidField if a template cannot be read, or what is no template is no address."""
    return People(source, field)


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """What a message is made of."""

    sender: People
    to: People
    cc: People
    bcc: People
    reply_to: People
    subject: templating.Text
    text: templating.Text | None
    html: templating.Text | None

    def write(self, event: Event, key: str) -> Letter:
        """The message of one event. Raises Fail."""
        sender = self.sender.render(event)
        if len(sender) != 1:
            raise Fail(f"from: it is {len(sender)} addresses, and must be one")
        to, cc, bcc = self.to.render(event), self.cc.render(event), self.bcc.render(event)
        recipients = list(dict.fromkeys(address.addr_spec for address in (*to, *cc, *bcc)))
        if not 1 <= len(recipients) <= MAX_RECIPIENTS:
            raise Fail(f"to: there are {len(recipients)} recipients; there may be 1 to {MAX_RECIPIENTS:,}")
        subject = fields.one_line(self.subject.render(event).strip(), "subject")
        text = None if self.text is None else self.text.render(event)
        html = None if self.html is None else self.html.render(event)

        message = EmailMessage(SMTP)
        message["From"] = sender
        for header, addresses in (("To", to), ("Cc", cc), ("Reply-To", self.reply_to.render(event))):
            if addresses:
                message[header] = addresses
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = _message_id(key, sender[0].domain, (*recipients, subject, text, html))
        message["Auto-Submitted"] = "auto-generated"  # nobody's holiday notice answers it
        try:
            if text is not None:
                message.set_content(text)
            if html is not None:
                (message.set_content if text is None else message.add_alternative)(html, subtype="html")
        except UnicodeError as error:
            raise Fail(f"{'html' if text is None else 'text'}: {error}") from None
        return Letter(message, sender[0].addr_spec, recipients)


def _address(value: Any, field: str) -> Address:
    """One address, with a name or without. Raises Fail, so that no comma in a value adds a recipient."""
    text = fields.one_line(str(value).strip(), field)
    named = _NAMED.fullmatch(text)
    name, address = (named["name"].strip('"'), named["address"].strip()) if named else ("", text)
    if not _ADDRESS.fullmatch(address):
        raise Fail(f"{field}: {shown(text)} is not one address")
    local, _, domain = address.rpartition("@")
    try:
        return Address(name, local, domain if domain.isascii() else domain.encode("idna").decode())
    except (ValueError, UnicodeError) as error:
        raise Fail(f"{field}: {shown(text)} is not one address: {error}") from None


def _message_id(key: str, domain: str, content: tuple[str | None, ...]) -> str:
    """The same for every attempt, and no other message's: task ids begin again in every database."""
    digest = hashlib.sha256(repr((key, content)).encode("utf-8", "surrogatepass")).hexdigest()[:20]
    return f"<{quote(key, safe='')[:120]}.{digest}@{domain}>"
