"""An address that cannot be read, or leads nowhere: one clear error, and never the password."""

from __future__ import annotations

import pytest

from howdah import App
from howdah.errors import CannotConnect, InvalidOption


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:sec ret@/x",
        "host=a password='sec ret",
        "postgresql://u:sec%zzret@h/x",
        "password=secret'x y=",
        "secret",
        "mysql://u:secret@h/x",
    ],
)
def test_no_part_of_a_dsn_that_cannot_be_read_is_shown(dsn: str) -> None:
    with pytest.raises(InvalidOption, match="dsn") as caught:
        App(dsn)
    assert "sec" not in str(caught.value)
    assert "postgresql://" in (caught.value.hint or "")


@pytest.mark.parametrize("dsn", ["postgresql://u:secret@127.0.0.1:1/x", "host=127.0.0.1 port=1 user=u password=secret"])
async def test_a_server_that_does_not_answer_is_named_without_its_password(dsn: str) -> None:
    with pytest.raises(CannotConnect, match=r"127\.0\.0\.1") as caught:
        await App(dsn).enqueue("x")
    assert "secret" not in f"{caught.value}"
