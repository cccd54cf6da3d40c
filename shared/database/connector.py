"""Opens connections to the database, whichever of its hosts answers."""

from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg

Url: TypeAlias = str | Callable[[], str]
"""The URL of a database, or what says it again at each connection."""


class Connector:
    """Connects to one database.

    asyncpg tries all hosts of a URL within one timeout, and a host that does not answer at all uses
    it up: then the next one comes first, also at later connections.
    """

    def __init__(self, url: Url) -> None:
        self._url = url
        self._first = 0

    async def __call__(self, *_: object, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect as asyncpg does, and raise what it raises; TimeoutError if no host answers."""
        urls = rotations(self._url if isinstance(self._url, str) else self._url())
        for _attempt in urls:
            try:
                return await asyncpg.connect(urls[self._first % len(urls)], **options)
            except TimeoutError:
                self._first += 1
        raise TimeoutError("no host of the database answers")


def rotations(url: str) -> list[str]:
    """The URL with each of its hosts first, the others behind it in their order."""
    parts = urlsplit(url)
    account, at, hosts = parts.netloc.rpartition("@")
    each = hosts.split(",")
    if len(each) == 1:
        return [url]
    orders = [",".join(each[n:] + each[:n]) for n in range(len(each))]
    return [parts._replace(netloc=f"{account}{at}{order}").geturl() for order in orders]
