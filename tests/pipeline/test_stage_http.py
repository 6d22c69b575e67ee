"""http: requests to a real server, which does all that servers do."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from howdah.outcomes import Fail, RetryAfter
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages.http import MAX_BODY, Http, RequestFailed
from pipeline.standing import Standing, events, stage


class Handler(BaseHTTPRequestHandler):
    """Answers by the path; remembers what it was asked."""

    server: Any

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        self.server.asked.append(
            {"method": self.command, "path": self.path, "headers": dict(self.headers.items()), "body": body}
        )
        first = self.path.split("?")[0].strip("/").split("/")
        match first:
            case ["status", status]:
                self.answer(int(status), b"secret-token echoed")
            case ["after", status]:
                self.answer(int(status), b"", {"Retry-After": self.server.retry_after})
            case ["json"]:
                self.answer(200, b'{"n": [1, null]}', {"Content-Type": "application/problem+json; charset=utf-8"})
            case ["bad-json"]:
                self.answer(200, b"{", {"Content-Type": "application/json"})
            case ["latin"]:
                self.answer(200, "Zoë\0".encode("latin-1"), {"Content-Type": "text/plain; charset=latin-1"})
            case ["cookie"]:
                self.answer(200, b"", {"Set-Cookie": "session=zoe; Path=/"})
            case ["bomb"]:
                self.answer(200, gzip.compress(b" " * (MAX_BODY + 1)), {"Content-Encoding": "gzip"})
            case ["redirect", *_]:
                self.answer(307, b"", {"Location": self.server.location})
            case ["hang"]:
                self.server.free.wait()
            case ["drop"]:
                self.connection.shutdown(socket.SHUT_RDWR)
            case _:
                self.answer(200, b"ok")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "text/plain", "Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Any]:
    running: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    running.asked, running.free = [], threading.Event()
    running.url = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.free.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
async def http(tmp_path: Path, server: Any) -> Any:
    made: list[Http] = []

    def make(path: str, **config: Any) -> Http:
        made.append(stage(Http, tmp_path, url=server.url + path, **config))
        return made[-1]

    yield make
    for one in made:
        await one.close()


class TestRequests:
    async def test_a_get_from_the_event(self, http: Any, server: Any) -> None:
        get = http("/u/{{ name }}", params={"q": "{{ name }}"}, headers={"X-Id": "{{ id }}"})

        await events(get, {"name": "Zoë/../?&", "id": 7})

        (asked,) = server.asked
        assert (asked["method"], asked["path"]) == ("GET", "/u/Zo%C3%AB%2F..%2F%3F%26?q=Zo%C3%AB%2F..%2F%3F%26")
        assert asked["headers"]["X-Id"] == "7"
        assert "Idempotency-Key" not in asked["headers"]

    async def test_json_is_posted_with_its_types(self, http: Any, server: Any) -> None:
        post = http("/", json={"order": {"id": "{{ id }}", "text": "no. {{ id }}"}, "tags": ["{{ tags }}"]})

        await events(post, {"id": 7, "tags": ["ā"]})

        (asked,) = server.asked
        assert json.loads(asked["body"]) == {"order": {"id": 7, "text": "no. 7"}, "tags": [["ā"]]}
        assert (asked["method"], asked["headers"]["Content-Type"]) == ("POST", "application/json")

    async def test_text_is_posted(self, http: Any, server: Any) -> None:
        await events(http("/", body="Sveiki, {{ name }}", method="PUT"), {"name": "Zoë"})

        assert (server.asked[0]["method"], server.asked[0]["body"]) == ("PUT", "Sveiki, Zoë")

    async def test_every_attempt_has_the_same_idempotency_key(self, http: Any, server: Any) -> None:
        post = http("/", method="DELETE")
        for attempt in (1, 2):
            await events(post, {}, Standing(attempt=attempt, idempotency_key="pasūtījumi:7:1"))
        await events(http("/", method="POST", headers={"idempotency-key": "{{ id }}"}), {"id": 7})

        keys = [{k.lower(): v for k, v in asked["headers"].items()}["idempotency-key"] for asked in server.asked]
        assert keys == ["pas%C5%ABt%C4%ABjumi:7:1", "pas%C5%ABt%C4%ABjumi:7:1", "7"]

    @pytest.mark.parametrize("hostile", ["x\r\nX-Evil: 1", "x\nX-Evil: 1", "x\0"])
    async def test_no_value_makes_a_second_header(self, http: Any, server: Any, hostile: str) -> None:
        with pytest.raises(Fail, match=r"headers.X-Id: it has a line break"):
            await events(http("/", headers={"X-Id": "{{ id }}"}), {"id": hostile})

        assert server.asked == []

    @pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "nonsense", "", "http://", "/"])
    async def test_an_event_that_makes_no_url_is_parked(self, tmp_path: Path, url: str) -> None:
        get = stage(Http, tmp_path, url="{{ url }}")

        with pytest.raises(Fail):
            await events(get, {"url": url})
        await get.close()

    async def test_one_event_does_not_inherit_the_cookies_of_another(self, http: Any, server: Any) -> None:
        get = http("/cookie")
        await events(get, {})
        await events(get, {})

        assert "Cookie" not in server.asked[1]["headers"]


class TestAnswers:
    async def test_json_and_text(self, http: Any) -> None:
        (found,) = await events(http("/json"), {"id": 7})
        (text,) = await events(http("/latin", emit="response"), {"id": 7})

        assert found["id"] == 7
        assert (found["response"]["status"], found["response"]["body"]) == (200, {"n": [1, None]})
        assert text["headers"]["content-type"] == "text/plain; charset=latin-1"
        assert text["body"] == "Zoë\ufffd"

    async def test_or_the_event_as_it_came(self, http: Any) -> None:
        assert await events(http("/json", emit="event"), {"id": 7}) == [{"id": 7}]
        assert (await events(http("/json", into="said"), {}))[0]["said"]["status"] == 200

    @pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
    async def test_what_passes_is_tried_again(self, http: Any, status: int) -> None:
        with pytest.raises(RequestFailed) as failed:
            await events(http(f"/status/{status}"), {})

        assert failed.value.status == status

    @pytest.mark.parametrize("status", [400, 401, 404, 409, 302])
    async def test_what_does_not_pass_parks_the_event(self, http: Any, status: int) -> None:
        with pytest.raises(Fail, match=str(status)):
            await events(http(f"/status/{status}"), {})

    async def test_the_file_says_what_is_well(self, http: Any) -> None:
        (found,) = await events(http("/status/404", ok=["2xx", 404]), {})
        assert found["response"]["status"] == 404
        with pytest.raises(Fail, match="200"):
            await events(http("/status/200", ok=[404]), {})

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_server_says_when_to_come_back(self, http: Any, server: Any, status: int) -> None:
        server.retry_after = "17"
        with pytest.raises(RetryAfter) as again:
            await events(http(f"/after/{status}"), {})
        assert again.value.delay == timedelta(seconds=17)

        server.retry_after = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
        with pytest.raises(RetryAfter) as again:
            await events(http(f"/after/{status}"), {})
        assert timedelta(hours=1, minutes=55) < again.value.delay <= timedelta(hours=2)

        server.retry_after = "9" * 400
        with pytest.raises(RetryAfter) as again:
            await events(http(f"/after/{status}"), {})
        assert again.value.delay == timedelta(days=1)

    @pytest.mark.parametrize("nonsense", ["soon", "", "-5", "1e9", "Wed, 99 Foo 2027"])
    async def test_nonsense_is_as_if_it_had_said_nothing(self, http: Any, server: Any, nonsense: str) -> None:
        server.retry_after = nonsense
        with pytest.raises(RequestFailed):
            await events(http("/after/503"), {})

    async def test_no_answer_is_tried_again(self, http: Any, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        closed = stage(Http, tmp_path, url=f"http://127.0.0.1:{port}/")

        with pytest.raises(RequestFailed, match="ConnectError"):
            await events(closed, {})
        with pytest.raises(RequestFailed, match=r"RemoteProtocolError|ReadError"):
            await events(http("/drop"), {})
        with pytest.raises(RequestFailed, match="no answer within 200ms"):
            await events(http("/hang", timeout="200ms"), {})
        await closed.close()

    async def test_an_answer_has_a_size(self, http: Any) -> None:
        with pytest.raises(Fail, match="bigger than the 5,000,000 bytes"):
            await events(http("/bomb"), {})

    async def test_json_that_is_none_is_tried_again(self, http: Any) -> None:
        with pytest.raises(RequestFailed, match="says it is JSON and is not"):
            await events(http("/bad-json"), {})

    async def test_no_secret_is_told(self, http: Any, server: Any, tmp_path: Path) -> None:
        url = server.url.replace("http://", "http://zoe:sesame@") + "/status/500?key=sesame"
        get = stage(Http, tmp_path, url=url, headers={"Authorization": "Bearer secret-token"})

        with pytest.raises(RequestFailed) as failed:
            await events(get, {})

        assert "sesame" not in str(failed.value)
        assert "secret-token" not in str(failed.value)
        assert f"GET {server.url}/status/500: 500 Internal Server Error" in str(failed.value)
        await get.close()


class TestRedirects:
    async def test_none_is_followed_unless_the_file_says_so(self, http: Any, server: Any) -> None:
        server.location = "/there"
        with pytest.raises(Fail, match="write follow_redirects: true"):
            await events(http("/redirect"), {})

        (found,) = await events(http("/redirect", follow_redirects=True), {})
        assert found["response"]["body"] == "ok"
        assert [asked["path"] for asked in server.asked] == ["/redirect", "/redirect", "/there"]

    async def test_none_leads_to_another_host(self, http: Any, server: Any) -> None:
        server.location = server.url.replace("127.0.0.1", "localhost") + "/there"

        with pytest.raises(Fail, match="to another host"):
            await events(http("/redirect", follow_redirects=True, headers={"X-Api-Key": "sesame"}), {})

        assert len(server.asked) == 1

    async def test_none_leads_in_circles(self, http: Any, server: Any) -> None:
        server.location = "/redirect"

        with pytest.raises(Fail, match="more than 5 redirects"):
            await events(http("/redirect", follow_redirects=True), {})

        assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"url": "example.com"}, ("url",)),
        ({"url": "{{ url"}, ("url",)),
        ({"headers": {"X-Id": "{{"}}, ("headers", "X-Id")),
        ({"json": {"a": ["{{"]}}, ("json", "a", 0)),
        ({"json": {}, "body": "x"}, ("body",)),
        ({"timeout": "soon"}, ("timeout",)),
        ({"timeout": 0}, ("timeout",)),
        ({"ok": ["2xx", "fine"]}, ("ok", 1)),
        ({"ok": [99]}, ("ok", 0)),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_field(tmp_path: Path, config: dict[str, Any], field: Any) -> None:
    with pytest.raises(InvalidField) as refused:
        stage(Http, tmp_path, **({"url": "https://example.com/"} | config))

    assert refused.value.field == field


async def test_many_at_once(http: Any, server: Any) -> None:
    get = http("/{{ n }}", emit="event")

    await asyncio.gather(*(events(get, {"n": n}) for n in range(40)))

    assert sorted(int(asked["path"][1:]) for asked in server.asked) == list(range(40))
