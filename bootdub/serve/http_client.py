"""Requests to other hosts: inputs that are fetched, and webhooks. Only public addresses, no redirections."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bootdub.serve.places import Address, is_public, public_address, require_url
from common.errors import UserError
from common.files import atomic_path

_BLOCK = 1 << 18


class PublicHttpClient:
    """HTTP to hosts that are allowed, at public addresses.

    Args:
        hosts: as of :class:`bootdub.serve.settings.ServeSettings`.
        timeout: seconds without an answer.
        permitted: which addresses may be asked.
    """

    def __init__(
        self, hosts: Sequence[str], timeout: float = 15, permitted: Callable[[Address], bool] = is_public
    ) -> None:
        self._hosts, self._timeout, self._permitted = tuple(hosts), timeout, permitted

    def fetch(self, url: str, target: Path, most_bytes: int, seconds: float = 3600) -> None:
        """Write what a URL holds to a file, whole or not at all.

        Raises:
            UserError: it cannot be had, or is too large or too slow.
        """
        end = time.monotonic() + seconds
        try:
            with closing(self._connect(url)) as connection:
                connection.request("GET", _path(url), headers={"Accept-Encoding": "identity"})
                answer = connection.getresponse()
                if answer.status != http.client.OK:
                    raise UserError(
                        f"The URL answers {answer.status} {answer.reason}: give one of a file itself."
                    )
                with atomic_path(target) as temporary, temporary.open("wb") as stream:
                    size = 0
                    while block := answer.read(_BLOCK):
                        size += len(block)
                        if size > most_bytes:
                            raise UserError(
                                f"The URL's file is larger than {most_bytes / 1e6:g} MB: give a smaller one."
                            )
                        if time.monotonic() > end:
                            raise UserError("The URL's host is too slow: upload the file.")
                        stream.write(block)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"The URL could not be fetched ({error}): try again, or upload the file."
            ) from error

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post to a URL; its answer's status.

        Raises:
            UserError: it may not be asked.
            OSError, http.client.HTTPException: it gives no answer.
        """
        with closing(self._connect(url)) as connection:
            connection.request("POST", _path(url), body, dict(headers))
            return connection.getresponse().status

    def _connect(self, url: str) -> http.client.HTTPConnection:
        parts = require_url(url, self._hosts)
        host = str(parts.hostname)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        address = public_address(host, port, self._permitted)
        if secure:
            return _SecureTo(address, host, port, timeout=self._timeout)
        return _To(address, host, port, timeout=self._timeout)


def _path(url: str) -> str:
    rest = url.split("://", 1)[1].partition("#")[0]
    cut = min((rest.find(sign) for sign in "/?" if sign in rest), default=len(rest))
    return rest[cut:] if rest[cut : cut + 1] == "/" else "/" + rest[cut:]


class _To(http.client.HTTPConnection):
    """A connection to an address that was looked up and judged before."""

    def __init__(self, address: str, host: str, port: int, **options: Any) -> None:
        super().__init__(host, port, **options)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _SecureTo(_To):
    """The same with TLS, whose certificate must be that of the host's name."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)
