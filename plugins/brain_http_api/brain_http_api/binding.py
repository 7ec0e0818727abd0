"""Binding: the listening socket and the TLS context, or one line that says why there is none."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import resource
import socket
import ssl
from pathlib import Path

from brain_core import BrainError

_BACKLOG = 1024
_OTHER_FILES = 256
"""How many open files are left to everything else in this process."""


async def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the first address of a host; BrainError when that cannot be had."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BrainError(
            f"the HTTP API cannot listen on {host!r}: {why}; set host to an address of this machine"
        ) from None
    family, _, _, _, address = found[0]
    try:
        # With its protocol: asyncio switches Nagle's delay off only for what says that it is TCP, and an answer in two
        # pieces would wait for the client's 40 ms.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _refused(host, port, error) from None
    try:
        sock.setblocking(False)
        # A server that has just ended leaves connections that would keep the port for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` stands for the addresses of both versions.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise _refused(host, port, error) from None
        raise
    return sock


def _refused(host: str, port: int, error: OSError) -> BrainError:
    todo = {
        errno.EADDRINUSE: (
            "something else listens there; set another port (THE_BRAIN_HTTP_API_PORT=0 takes a free one), "
            "or switch the API off for this one: THE_BRAIN_HTTP_API_ENABLED=false"
        ),
        errno.EACCES: "this account may not; set a port from 1024 on",
        errno.EPERM: "this account may not; set a port from 1024 on",
        errno.EADDRNOTAVAIL: "this machine has no such address; set host to one that it has",
        errno.EAFNOSUPPORT: "this machine has no addresses of that kind; set host to one that it has",
    }.get(error.errno or 0, error.strerror or str(error))
    return BrainError(f"the HTTP API cannot listen on {shown_address(host, port)}: {todo}")


def shown_address(host: str, port: int) -> str:
    """Return host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return what serves TLS 1.2 and later with these files; BrainError when they cannot be used."""
    for setting, file in (("tls_cert", cert), ("tls_key", key)):
        try:
            file.read_bytes()
        except OSError as error:
            raise BrainError(f"{setting} '{file}' cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])

    def no_password() -> str:
        raise BrainError(f"tls_key '{key}' is encrypted; give one without a passphrase, readable by this account alone")

    try:
        context.load_cert_chain(cert, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BrainError(f"tls_key '{key}' is not the key of tls_cert '{cert}'") from None
        raise BrainError(f"tls_cert '{cert}' and tls_key '{key}' cannot be used: both have to be in PEM") from None
    return context


def most_connections(wanted: int) -> tuple[int, int]:
    """Return how many connections this process can hold of those that are wanted, and how many files it may open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted, limit
    return min(wanted, max(limit - _OTHER_FILES, limit // 4)), limit
