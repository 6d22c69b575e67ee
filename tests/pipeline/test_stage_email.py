"""email: messages to a real SMTP server, with and without TLS and a password, in every mood a server can be in."""

from __future__ import annotations

import asyncio
import email.policy
import ssl
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from howdah.outcomes import Fail
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages.email import Email
from howdah.pipeline.stages.smtp import MailFailed
from pipeline.standing import Standing, events, stage

Parser = BytesParser(policy=email.policy.default)


class Post:
    """A mail server: what it got, and what it says instead of yes."""

    def __init__(self) -> None:
        self.got: list[tuple[EmailMessage, list[str]]] = []
        self.logins: list[tuple[str, str]] = []
        self.refused: dict[str, str] = {}
        self.data = "250 OK"
        self.port = 0
        self.hang = False

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.hang:
            await asyncio.Event().wait()
        if self.data.startswith("250"):
            self.got.append((cast("EmailMessage", Parser.parsebytes(envelope.content)), envelope.rcpt_tos))
        return self.data

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        return "421 gone before it said good-bye"

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"open sesame", handled=False)


Serve = Callable[..., Any]


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return authority


@pytest.fixture
async def serve(authority: trustme.CA) -> AsyncIterator[Serve]:
    running: list[asyncio.Server] = []

    async def start(*, tls: str = "none", names: tuple[str, ...] = ("localhost",), **options: Any) -> Post:
        post = Post()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(context)
        if tls == "starttls":
            options["tls_context"] = context
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(post, authenticator=post.login, enable_SMTPUTF8=True, **options),
            "127.0.0.1",
            0,
            ssl=context if tls == "tls" else None,
        )
        running.append(server)
        post.port = server.sockets[0].getsockname()[1]
        return post

    yield start
    for server in running:
        server.close()


@pytest.fixture
def mail(tmp_path: Path) -> Callable[..., Email]:
    def make(post: Post, **config: Any) -> Email:
        given = {
            "server": f"localhost:{post.port}",
            "from": "Shop <shop@example.com>",
            "to": "{{ to }}",
            "subject": "Hi",
            "text": "-",
        }
        return stage(Email, tmp_path, **(given | config))

    return make


EVENT = {"to": "zoe@example.org", "name": "Zoë & <Co>", "n": 7}


class TestMessages:
    async def test_a_message_with_everything(self, serve: Serve, mail: Any, tmp_path: Path) -> None:
        (tmp_path / "invoice.pdf").write_bytes(b"%PDF \xff")
        post = await serve()

        passed = await events(
            mail(
                post,
                to=["Zoë <{{ to }}>", "a@example.org, b@example.org"],
                cc="{{ others }}",
                bcc="secret@example.org",
                reply_to="help@example.com",
                subject="Nr. {{ n }} – {{ name }}",
                text="Sveiki, {{ name }}",
                html="<p>{{ name }}</p>",
                attachments=[{"path": "invoice.pdf"}, {"content": "{{ n }};ā\n", "name": "{{ n }}.csv"}],
            ),
            EVENT | {"others": ["c@example.org", "D, Ē <d@example.org>"]},
        )

        ((message, recipients),) = post.got
        assert recipients == [*(f"{who}@example.org" for who in ("a", "b", "zoe", "c", "d")), "secret@example.org"]
        assert message["Subject"] == "Nr. 7 – Zoë & <Co>"
        assert (message["From"], message["Reply-To"]) == ("Shop <shop@example.com>", "help@example.com")
        assert [one.display_name for one in message["To"].addresses] == ["", "", "Zoë"]
        assert [one.display_name for one in message["Cc"].addresses] == ["", "D, Ē"]
        assert "secret" not in message.as_string()
        plain, page = message.get_body(("plain",)), message.get_body(("html",))
        assert plain is not None
        assert page is not None
        assert plain.get_content().strip() == "Sveiki, Zoë & <Co>"
        assert page.get_content().strip() == "<p>Zoë &amp; &lt;Co&gt;</p>"
        files = {part.get_filename(): part.get_content() for part in message.iter_attachments()}
        assert files == {"invoice.pdf": b"%PDF \xff", "7.csv": "7;ā\r\n"}
        assert passed[0]["n"] == 7

    async def test_every_attempt_sends_the_same_message_id(self, serve: Serve, mail: Any) -> None:
        post = await serve()
        send = mail(post, text=None, html="{{ n }}")

        await events(send, EVENT, Standing(attempt=1))
        await events(send, EVENT, Standing(attempt=2))
        await events(send, EVENT | {"n": 8})
        await events(send, EVENT, Standing(idempotency_key="pasūtījumi:1:1"))

        ids = [message["Message-ID"] for message, _ in post.got]
        assert ids[0] == ids[1]
        assert len(set(ids)) == 3
        assert all(one.endswith("@example.com>") and one.isascii() for one in ids)

    async def test_addresses_beyond_ascii(self, serve: Serve, mail: Any) -> None:
        post = await serve()

        await events(mail(post), {"to": "zoë@dārzs.example"})

        ((_, recipients),) = post.got
        assert recipients == ["zoë@xn--drzs-mpa.example"] or recipients[0].startswith("zoë@xn--")

    async def test_what_is_attached_stays_in_the_folder(self, serve: Serve, mail: Any, tmp_path: Path) -> None:
        post = await serve()
        (tmp_path / "link").symlink_to("/etc/passwd")

        for path in ("../../etc/passwd", "/etc/passwd", "link"):
            with pytest.raises(Fail, match=r"attachments\[0\]: .* is outside"):
                await events(mail(post, attachments=[{"path": "{{ path }}"}]), EVENT | {"path": path})
        assert post.got == []


class TestHostileValues:
    @pytest.mark.parametrize("value", ["Hi\r\nBcc: evil@example.org", "Hi\nX: 1", "Hi\x00", "Hi\u2028X"])
    async def test_no_value_adds_a_header(self, serve: Serve, mail: Any, value: str) -> None:
        post = await serve()
        with pytest.raises(Fail, match="subject: it has a line break"):
            await events(mail(post, subject="{{ value }}!"), EVENT | {"value": value})
        with pytest.raises(Fail, match="to: it has a line break"):
            await events(mail(post), {"to": f"{value} <zoe@example.org>"})

        assert post.got == []

    @pytest.mark.parametrize(
        "value",
        ["zoe@example.org, evil@example.org", "zoe@example.org>, <evil@example.org", "zoe@example.org;evil@example.org",
         "zoe@example.org evil@example.org", "zoe", "", "@example.org", "zoe@", "a@b@c", "zoe@example.org\\", '"x"@y'],
    )  # fmt: skip
    async def test_no_value_adds_a_recipient(self, serve: Serve, mail: Any, value: str) -> None:
        post = await serve()
        for to in ("{{ to }}", "Zoë <{{ to }}>", "{{ [to] }}"):
            with pytest.raises(Fail, match=r"to: .* is not one address"):
                await events(mail(post, to=to), {"to": value})

        assert post.got == []

    async def test_a_name_stays_a_name(self, serve: Serve, mail: Any) -> None:
        post = await serve()

        await events(mail(post, to="{{ name }} <zoe@example.org>"), {"name": 'Evil, "x" evil@example.org'})

        ((message, recipients),) = post.got
        assert recipients == ["zoe@example.org"]
        assert [one.addr_spec for one in message["To"].addresses] == ["zoe@example.org"]

    async def test_nobody_to_send_to(self, serve: Serve, mail: Any) -> None:
        with pytest.raises(Fail, match="0 recipients"):
            await events(mail(await serve()), {"to": []})


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
class TestSecurity:
    @pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp"), ("tls", "smtps")])
    async def test_a_password_over_tls(self, serve: Serve, mail: Any, tls: str, scheme: str) -> None:
        post = await serve(tls=tls, auth_required=True, auth_require_tls=tls == "starttls")

        await events(mail(post, server=f"{scheme}://zoe:open%20sesame@localhost:{post.port}", ca_file="ca.pem"), EVENT)

        assert post.logins == [("zoe", "open sesame")]
        assert len(post.got) == 1

    async def test_a_password_is_not_sent_in_the_clear(self, serve: Serve, mail: Any) -> None:
        post = await serve(auth_require_tls=False)
        with pytest.raises(Fail, match="no STARTTLS, without which the password would be readable"):
            await events(mail(post, username="zoe", password="open sesame"), EVENT)
        assert post.logins == []

        await events(mail(post, username="zoe", password="open sesame", tls="none"), EVENT)
        assert len(post.got) == 1

    async def test_starttls_is_used_where_it_is_offered(self, serve: Serve, mail: Any) -> None:
        post = await serve(tls="starttls", require_starttls=True)

        await events(mail(post, ca_file="ca.pem"), EVENT)

        assert len(post.got) == 1

    async def test_certificates_are_verified(self, serve: Serve, mail: Any) -> None:
        unknown, other = await serve(tls="starttls"), await serve(tls="starttls", names=("example.com",))
        with pytest.raises(MailFailed, match=r"(?i)certificate"):
            await events(mail(unknown), EVENT)
        with pytest.raises(MailFailed, match=r"(?i)certificate"):
            await events(mail(other, ca_file="ca.pem"), EVENT)
        assert unknown.got == other.got == []

        await events(mail(unknown, verify=False), EVENT)
        assert len(unknown.got) == 1

    async def test_a_wrong_password_is_not_told(self, serve: Serve, mail: Any) -> None:
        post = await serve(tls="starttls", auth_required=True)

        with pytest.raises(Fail, match="535") as failed:
            await events(mail(post, username="zoe", password="wrong sesame", ca_file="ca.pem"), EVENT)

        assert "sesame" not in str(failed.value)


class TestMoods:
    @pytest.mark.parametrize(("answer", "outcome"), [("451 later", MailFailed), ("554 spam", Fail)])
    async def test_4xx_is_tried_again_and_5xx_is_not(
        self, serve: Serve, mail: Any, answer: str, outcome: type[Exception]
    ) -> None:
        post = await serve()
        post.data = answer
        with pytest.raises(outcome, match=answer):
            await events(mail(post), EVENT)

        post.data, post.refused = "250 OK", {"zoe@example.org": answer}
        with pytest.raises(outcome, match=rf"all recipients were refused: zoe@example.org \({answer}\)"):
            await events(mail(post), EVENT)

    async def test_some_recipients_refused_is_a_warning(
        self, serve: Serve, mail: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        post = await serve()
        post.refused = {"gone@example.org": "550 no such user"}

        passed = await events(mail(post, cc="gone@example.org"), EVENT)

        assert passed == [EVENT]
        assert [recipients for _, recipients in post.got] == [["zoe@example.org"]]
        assert "refused gone@example.org: 550 no such user" in caplog.text

    async def test_no_server_is_tried_again(self, serve: Serve, mail: Any) -> None:
        post = await serve()
        post.hang = True
        with pytest.raises(MailFailed, match="no answer within 300ms"):
            await events(mail(post, timeout="300ms"), EVENT)

        post.port = 1
        with pytest.raises(MailFailed):
            await events(mail(post), EVENT)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"server": "http://x"}, ("server",)),
        ({"server": "smtp://u:sesame@h:port"}, ("server",)),
        ({"server": "smtp://zoe@h"}, ("password",)),
        ({"username": "zoe"}, ("password",)),
        ({"password": "sesame"}, ("username",)),
        ({"server": "smtps://h", "tls": "starttls"}, ("tls",)),
        ({"ca_file": "nowhere.pem"}, ("ca_file",)),
        ({"from": "nobody"}, ("from",)),
        ({"to": ["a@b.c", "nobody"]}, ("to", 1)),
        ({"to": ["{{ to"]}, ("to", 0)),
        ({"subject": "{{"}, ("subject",)),
        ({"html": "{% if %}"}, ("html",)),
        ({"text": None}, ("text",)),
        ({"timeout": "soon"}, ("timeout",)),
        ({"attachments": [{"name": "x"}]}, ("attachments", 0)),
        ({"attachments": [{"content": "x"}]}, ("attachments", 0, "name")),
        ({"attachments": [{"path": "{{"}]}, ("attachments", 0, "path")),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_field(mail: Any, config: dict[str, Any], field: Any) -> None:
    with pytest.raises(InvalidField) as refused:
        mail(Post(), **config)

    assert refused.value.field == field
    assert "sesame" not in str(refused.value)
