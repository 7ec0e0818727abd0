"""Base URLs of servers: what is refused, and how one is shown. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

EXAMPLE = "http://127.0.0.1:11434/v1"


def url_problem(url: str) -> str | None:
    """Return why this cannot be a `provider_url`, with what to write, or None. Never shows a password in it."""
    if any(char.isspace() or ord(char) < 32 for char in url):
        return f"provider_url holds blanks; write the base URL alone, such as {EXAMPLE}"
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or 0 < parts.port < 65536
        host = parts.hostname
    except ValueError:
        port_ok, host, parts = False, None, urlsplit("")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        return "provider_url holds a user or password, which would be kept; give the key as api_key='env:NAME'"
    if parts.query or parts.fragment:
        return "provider_url ends in ?… or #…, which may hold a key and would be kept; leave it out, and see api_key="
    if parts.scheme not in ("http", "https") or not host or not port_ok:
        # A password with a slash in it stands behind what counts as the host; a port that is none hides the rest.
        shown = "" if {"@", "?", "#"} & set(url) else f" {url[:200]!r}"
        return f"provider_url{shown} is no URL of a server; write for example {EXAMPLE}"
    if url.rstrip("/").endswith(("/chat/completions", "/completions", "/messages")):
        return f"provider_url {url[:200]!r} names one call; write the base URL alone, which usually ends in /v1"
    return None


def place_of(url: str) -> str:
    """Return host and port of a URL: what the rows and messages call the server."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or url
