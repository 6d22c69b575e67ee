"""http: a request per event."""

from __future__ import annotations

import asyncio
import http.cookiejar
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import quote

import httpx2
import msgspec
from msgspec import Meta, field

from howdah.backoff import Retry
from howdah.context import Context
from howdah.durations import in_words
from howdah.errors import HowdahError, shown
from howdah.outcomes import Fail
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, InvalidField, More
from howdah.pipeline.stages import fields, templating

MAX_BODY = 5_000_000
MAX_REDIRECTS = 5
LONGEST_WAIT = timedelta(days=1)
_HARMLESS = ("GET", "HEAD", "OPTIONS")


class RequestFailed(HowdahError):
    """No answer, or one that says to try again. `status` is the answer's, if there was one."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Http(stage.Stage):
    """Sends a request and passes on the answer.

    No answer, 408, 425, 429 and 5xx are tried again, after Retry-After if the answer has it; every other status that is not
    ok parks the event. A request that changes something carries an Idempotency-Key, the same for each of its attempts.
    """

    class Config(stage.Config, frozen=True):
        url: Annotated[
            str,
            Meta(
                description="A template. What an event puts in stays one piece of a path or query; for more, write {{ base | safe }}, "
                "or nothing but one {{ expression }}.",
                min_length=1,
            ),
        ]
        method: Annotated[
            Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] | None,
            Meta(description="POST if there is a body, else GET."),
        ] = None
        params: Annotated[dict[str, Any], Meta(description="The query of the URL: templates, encoded as needed.")] = (
            field(default_factory=dict[str, Any])
        )
        headers: Annotated[dict[str, str], Meta(description="Templates.")] = field(default_factory=dict[str, str])
        json: Annotated[Any, Meta(description="The body as JSON: templates, see the module template.")] = None
        body: Annotated[str | None, Meta(description="The body as text: a template.")] = None
        timeout: Annotated[str | float, Meta(description='How long the whole answer may take: "30s", or seconds.')] = (
            "30s"
        )
        ok: Annotated[
            list[int | str], Meta(description='The statuses that are well: numbers, or "2xx".', min_length=1)
        ] = field(default_factory=lambda: ["2xx"])
        follow_redirects: Annotated[
            bool, Meta(description="Whether to follow redirects; only within the same host, at most 5.")
        ] = False
        emit: Annotated[
            Literal["merge", "response", "event"],
            Meta(
                description="What goes on: the event with the answer in it, the answer alone, or the event as it came."
            ),
        ] = "merge"
        into: Annotated[
            str, Meta(description="The field that gets the answer: status, headers, body.", min_length=1)
        ] = "response"

    config: Config

    @cached_property
    def _url(self) -> templating.Text | templating.Expression:
        return templating.alone(self.config.url, "url") or templating.text(self.config.url, "url", "url")

    @cached_property
    def _parts(self) -> templating.Structure:
        return templating.structure({"headers": self.config.headers, "params": self.config.params}, ())

    @cached_property
    def _json(self) -> templating.Structure:
        return templating.structure(self.config.json, "json")

    @cached_property
    def _body(self) -> templating.Text:
        return templating.text(self.config.body or "", "body")

    @cached_property
    def _timeout(self) -> float:
        return fields.length(self.config.timeout, "timeout").total_seconds()

    @property
    def _has_json(self) -> bool:
        return self.config.json is not None

    @cached_property
    def _method(self) -> str:
        return self.config.method or ("POST" if self._has_json or self.config.body is not None else "GET")

    @cached_property
    def _client(self) -> httpx2.AsyncClient:
        # One event must not go out with the session that the answer to another began.
        no_cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        return httpx2.AsyncClient(timeout=self._timeout, cookies=no_cookies)

    def check(self) -> None:
        _ = self._url, self._parts, self._json, self._body
        if not self._timeout:
            raise InvalidField("timeout", "timeout must be longer than nothing", hint='Write "30s"')
        if self._has_json and self.config.body is not None:
            raise InvalidField("body", "json and body were both given", hint="Give one of them")
        if "{" not in self.config.url and not self.config.url.startswith(("http://", "https://")):
            raise InvalidField("url", f"url is {shown(self.config.url)}", hint="Write https://…")
        for n, status in enumerate(self.config.ok):
            digits = str(status).lower()
            if len(digits) != 3 or digits[0] not in "12345" or not (digits[1:] == "xx" or digits.isdecimal()):
                raise InvalidField(("ok", n), f"{shown(status)} is no status", hint='Write 200 or "2xx"')

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        request = self._request(event, ctx)
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._answer(request)
        except TimeoutError:
            raise RequestFailed(f"{_shown(request)}: no answer within {in_words(self._timeout)}") from None
        except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
            raise Fail(f"{_shown(request)}: {error}") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise RequestFailed(f"{_shown(request)}: {type(error).__name__} {error}".strip()) from None
        match self.config.emit:
            case "merge":
                return [event | {self.config.into: answer}]
            case "response":
                return [answer]
            case "event":
                return [event]

    async def close(self) -> None:
        if "_client" in self.__dict__:
            await self.__dict__.pop("_client").aclose()

    def _request(self, event: Event, ctx: Context) -> httpx2.Request:
        parts = self._parts.render(event)
        headers = httpx2.Headers(
            [
                (name, fields.one_line(str(value), f"headers.{name}").encode())
                for name, value in parts["headers"].items()
            ]
        )
        content: bytes | None = None
        if self._has_json:
            content = msgspec.json.encode(self._json.render(event))
            headers.setdefault("Content-Type", "application/json")
        elif self.config.body is not None:
            content = self._body.render(event).encode()
            headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        if self._method not in _HARMLESS:
            headers.setdefault("Idempotency-Key", quote(ctx.idempotency_key, safe=":/ ()"))
        try:
            url = httpx2.URL(str(self._url.value(event)).strip())
            url = url.copy_merge_params(parts["params"]) if parts["params"] else url
            return self._client.build_request(self._method, url, headers=headers, content=content)
        except (httpx2.InvalidURL, UnicodeError, TypeError) as error:
            raise Fail(f"url: {error}") from None

    async def _answer(self, request: httpx2.Request) -> dict[str, Any]:
        for _ in range(1 + MAX_REDIRECTS):
            response = await self._client.send(request, stream=True)
            try:
                following = response.next_request if self.config.follow_redirects else None
                if following is None:
                    return await self._read(request, response)
                if following.url.host != request.url.host or (request.url.scheme, following.url.scheme) == (
                    "https",
                    "http",
                ):
                    raise Fail(f"{_shown(request)}: {response.status_code} to another host, {_shown(following)}")
                request = following
            finally:
                await response.aclose()
        raise Fail(f"{_shown(request)}: more than {MAX_REDIRECTS} redirects")

    async def _read(self, request: httpx2.Request, response: httpx2.Response) -> dict[str, Any]:
        read = bytearray()
        async for piece in response.aiter_bytes():
            read += piece
            if len(read) > MAX_BODY:
                raise Fail(f"{_shown(request)}: the body of the answer is bigger than the {MAX_BODY:,} bytes allowed")
        if not self._is_ok(response.status_code):
            raise _refusal(request, response)
        return {
            "status": response.status_code,
            "headers": dict(response.headers),
            "body": _body(request, response, read),
        }

    def _is_ok(self, status: int) -> bool:
        return any(str(allowed).lower() in (str(status), f"{status // 100}xx") for allowed in self.config.ok)


def _refusal(request: httpx2.Request, response: httpx2.Response) -> Exception:
    """What a status that is not ok means. The answer's body is left out: it may repeat what the request had to hide."""
    status = response.status_code
    said = f"{_shown(request)}: {status} {response.reason_phrase}".rstrip()
    if status not in (408, 425, 429) and status < 500:
        hint = "; to follow it, write follow_redirects: true" if response.has_redirect_location else ""
        return Fail(said + hint)
    wait = _retry_after(response.headers.get("Retry-After", "")) if status in (429, 503) else None
    return RequestFailed(said, status=status) if wait is None else Retry.after(wait, said)


def _retry_after(header: str) -> timedelta | None:
    """Seconds, or a date; None if it is neither."""
    try:
        if header.strip().isdecimal():
            return min(timedelta(seconds=min(int(header), 10**9)), LONGEST_WAIT)
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(date - datetime.now(UTC), timedelta(0)), LONGEST_WAIT)


def _body(request: httpx2.Request, response: httpx2.Response, read: bytearray) -> Any:
    """JSON as what it says, anything else as text; None if there is nothing."""
    if not read:
        return None
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return msgspec.json.decode(read)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise RequestFailed(f"{_shown(request)}: the answer says it is JSON and is not: {error}") from None
    try:
        text = read.decode(response.charset_encoding or "utf-8", errors="replace")
    except LookupError:
        text = read.decode(errors="replace")
    return text.replace("\0", "\ufffd")  # PostgreSQL cannot store it


def _shown(request: httpx2.Request) -> str:
    """The request as it may be told: without user, password and query."""
    url = request.url
    return f"{request.method} {url.scheme}://{url.netloc.decode()}{url.path}"
