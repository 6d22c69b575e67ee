"""A mail server: how it is reached, and what its answers mean."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from email.message import EmailMessage
from functools import cached_property
from typing import Literal
from urllib.parse import unquote, urlsplit

import aiosmtplib
from aiosmtplib import SMTPRecipientsRefused, SMTPResponseException

from howdah.durations import in_words
from howdah.errors import HowdahError, shown
from howdah.outcomes import Fail
from howdah.pipeline.stage import InvalidField

Tls = Literal["starttls", "tls", "none"]


class MailFailed(HowdahError):
    """The server cannot be reached, or says to try again."""


class Server:
    """Where a server is and how it is talked to. Raises InvalidField if that cannot be meant."""

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None,
        username: str | None,
        password: str | None,
        verify: bool,
        ca_file: str | None,
    ) -> None:
        try:
            parts = urlsplit(address if "://" in address else f"smtp://{address}")
            host, port = parts.hostname, parts.port
        except ValueError:  # its words may hold the password
            host, port, parts = None, None, urlsplit("smtp:")
        if not host or parts.scheme not in ("smtp", "smtps") or parts.path.strip("/") or parts.query or parts.fragment:
            raise InvalidField(
                "server", "server cannot be read",
                hint="Write host:port, smtp://user:password@host:587 or smtps://user:password@host",
            )  # fmt: skip
        self.username = unquote(parts.username) if parts.username else username
        self.password = unquote(parts.password) if parts.password else password
        if bool(self.username) != bool(self.password):
            raise InvalidField("password" if self.username else "username", "username and password go together")
        if parts.scheme == "smtps" and tls not in (None, "tls"):
            raise InvalidField("tls", f"tls is {tls}, but smtps:// is tls from the start")
        self.tls: Tls | None = "tls" if parts.scheme == "smtps" or (port == 465 and tls is None) else tls
        self.host = host
        self.port = port or {"tls": 465, "starttls": 587}.get(self.tls or "", 587 if self.username else 25)
        self.context = _context(verify, ca_file)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @cached_property
    def start_tls(self) -> bool | None:
        """Whether STARTTLS must be, must not be, or is done if it is offered (None)."""
        if self.tls is None:
            return True if self.password else None
        return self.tls == "starttls"

    async def send(self, message: EmailMessage, sender: str, recipients: list[str], timeout: float) -> dict[str, str]:
        """Send it; returns who was refused and why, if not all were. Raises Fail, and MailFailed for what may pass."""
        smtp = aiosmtplib.SMTP(
            hostname=self.host, port=self.port, username=self.username, password=self.password,
            use_tls=self.tls == "tls", start_tls=self.start_tls, tls_context=self.context, timeout=timeout,
        )  # fmt: skip
        try:
            async with asyncio.timeout(timeout):
                await smtp.connect()
                refused, _ = await smtp.send_message(message, sender=sender, recipients=recipients)
                # It is sent: whatever goes wrong now must not send it again.
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(1):
                        await smtp.quit()
        except SMTPRecipientsRefused as error:
            answers = {refusal.recipient: f"{refusal.code} {refusal.message}" for refusal in error.recipients}
            said = f"{self}: all recipients were refused: {_listed(answers)}"
            passes = any(refusal.code < 500 for refusal in error.recipients)
            raise self._failure(said, passes=passes) from None
        except SMTPResponseException as error:
            raise self._failure(f"{self}: {error.code} {error.message}", passes=not 500 <= error.code < 600) from None
        except ssl.SSLCertVerificationError as error:  # which is a ValueError too
            raise MailFailed(
                f"{self}: {error.verify_message or error}", hint="Name its authority with ca_file"
            ) from None
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            raise self._failure(f"{self}: {error}", passes=False) from None
        except TimeoutError:
            raise MailFailed(f"{self}: no answer within {in_words(timeout)}") from None
        except (aiosmtplib.SMTPException, OSError, EOFError) as error:
            if "STARTTLS" in str(error) and self.start_tls:
                reason = (
                    ""
                    if self.tls
                    else ", without which the password would be readable; if that is meant, write tls: none"
                )
                raise Fail(f"{self}: the server offers no STARTTLS{reason}") from None
            raise self._failure(f"{self}: {type(error).__name__} {error}", passes=True) from None
        finally:
            smtp.close()
        return {recipient: f"{response.code} {response.message}" for recipient, response in refused.items()}

    def _failure(self, said: str, *, passes: bool) -> Exception:
        line = " ".join(said.split())[:1000]
        line = line.replace(self.password, "***") if self.password else line
        return MailFailed(line) if passes else Fail(line)


def _listed(answers: dict[str, str]) -> str:
    return "; ".join(f"{recipient} ({answer})" for recipient, answer in answers.items())


def _context(verify: bool, ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise InvalidField("ca_file", f"{shown(ca_file)} cannot be read as certificates: {error}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
