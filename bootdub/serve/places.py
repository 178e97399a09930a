"""Files and hosts that requests may name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from common.errors import UserError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses that a gateway (NAT64) turns into those of IPv4."""


def file_under(root: Path | None, name: str) -> Path:
    """The file that a request names, relative to the root; links are followed before it is judged.

    Raises:
        UserError: there is no root, or no such file in it. Both are told alike, so that nothing is learnt
            about files outside.
    """
    if root is None:
        raise UserError("This service takes no paths: upload the file.")
    folder = root.resolve()
    try:
        path = (folder / name).resolve(strict=True)
        inside = path.is_relative_to(folder) and path.is_file()
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise UserError(f"There is no file '{name}' in the service's folder: give a path relative to it.")
    return path


def require_url(url: str, hosts: Sequence[str]) -> SplitResult:
    """A URL that may be asked; its addresses are looked up when it is, by :func:`public_address`.

    Raises:
        UserError: it is none, or its host is not among ``hosts``.
    """
    try:
        parts = urlsplit(url)
        host, known = parts.hostname, parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        host, known = None, False
    if not known or not host or parts.username is not None or not url.isascii() or not url.isprintable():
        raise UserError("A URL must be like https://host/path, without a user's name: mend it.")
    if "*" not in hosts and host not in hosts:
        raise UserError(
            f"This service asks nothing of the host '{host}': upload the file, or allow the host."
        )
    return parts


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet, and not of this machine or its own network."""
    if isinstance(address, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        inner = address.ipv4_mapped or address.sixtofour or (last if address in _TRANSLATED else None)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def public_address(host: str, port: int, permitted: Callable[[Address], bool] = is_public) -> str:
    """The address to connect to; who connects to the name instead may be led elsewhere meanwhile.

    Raises:
        UserError: the name has no address, or one that is not ``permitted``.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UserError(f"The host '{host}' has no address: mend the URL.") from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not addresses or not all(permitted(ipaddress.ip_address(address)) for address in addresses):
        raise UserError(f"The host '{host}' lies in a private network: upload the file.")
    return addresses[0]
