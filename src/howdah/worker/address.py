"""Where a worker answers probes."""

from __future__ import annotations

from typing import NamedTuple

from howdah.errors import InvalidOption, shown

_HERE = "127.0.0.1"
_HINT = 'Write "127.0.0.1:8321", ":8321" for the same, or "0.0.0.0:8321" to be reached from other machines'


class Address(NamedTuple):
    """A host and a port. Port 0: any that is free."""

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Address:
        """HOST:PORT, or :PORT. Raises InvalidOption."""
        host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")  # pyright: ignore[reportUnnecessaryIsInstance]
        if not colon:
            raise InvalidOption(f"health must be HOST:PORT, not {shown(text)}", hint=_HINT)
        if not (port.isascii() and port.isdecimal()) or len(port) > 5 or int(port) > 65535:
            raise InvalidOption(f"health has no port from 0 to 65535 after the colon: {shown(text)}", hint=_HINT)
        bracketed = host.startswith("[") and host.endswith("]")
        if (":" in host) != bracketed:
            raise InvalidOption(f"health must be HOST:PORT, not {shown(text)}", hint='IPv6 is written "[::1]:8321"')
        return cls(host.strip("[]") or _HERE, int(port))

    def for_worker(self, number: int) -> Address:
        """The one of the worker of this number, from 1, where several run side by side. Raises InvalidOption."""
        if not self.port or number == 1:
            return self
        if self.port + number - 1 > 65535:
            raise InvalidOption(
                f"health has no port for worker {number}: the first one has {self.port}", hint="Begin with a lower port"
            )
        return self._replace(port=self.port + number - 1)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
