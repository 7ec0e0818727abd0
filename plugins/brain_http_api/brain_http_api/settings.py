"""The section `[plugins.http_api]` of the configuration. Times are in seconds, sizes in bytes."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_NOT_IN_A_URL = re.compile(r"[ @?#]")
_HEADER = re.compile(r"[A-Za-z0-9-]+")
SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "webhook-signature", "x-hub-signature", "x-hub-signature-256"}
)


class HttpApiSettings(BaseModel):
    """What the HTTP API listens on, what it lets in, and how much of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = False
    """Whether `brain daemon` and `brain serve` serve the API."""
    host: str = "127.0.0.1"
    port: int = Field(default=8001, ge=0, le=65_535)
    """0 takes any port that is free; the log says which."""
    public_url: str | None = None
    """Where others reach the API, such as https://brain.example.org; webhooks are told with it."""
    root_path: str = ""
    """The path under which a proxy passes the API on, such as /brain."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    """Files in PEM, both or none."""
    workflows_dirs: tuple[Path, ...] | None = None
    """Folders whose workflow files may be run by their path; the folder of the configuration file unless given."""
    docs: bool = False
    """Whether /docs and /openapi.json are served, without a token."""
    max_body: int = Field(default=1024 * 1024, gt=0, le=16 * 1024 * 1024)
    max_header: int = Field(default=16 * 1024, ge=1024, le=1024 * 1024)
    """The request line and all headers together."""
    header_timeout: float = Field(default=10.0, gt=0)
    """How long a request line and headers may take to arrive."""
    body_timeout: float = Field(default=30.0, gt=0)
    """How long a body may take to arrive."""
    send_timeout: float = Field(default=30.0, gt=0)
    """How long a client may leave what is sent to it unread."""
    idle_timeout: float = Field(default=15.0, gt=0)
    """How long a connection stays open between two requests."""
    max_connections: int = Field(default=1_000, gt=0, le=60_000)
    max_requests: int = Field(default=500, gt=0, le=60_000)
    """Requests in hand at once, waiting ones and streams among them."""
    max_streams: int = Field(default=100, gt=0, le=10_000)
    """Event streams at once."""
    max_wait: float = Field(default=3_600.0, gt=0)
    """The longest that a request waits for the end of a run."""
    webhook_headers: tuple[str, ...] = ()
    """Further headers of deliveries that steps may read, as `{trigger.headers.x_name}`."""

    @field_validator("host")
    @classmethod
    def _host_is_one(cls, host: str) -> str:
        if not host:
            raise ValueError("it is empty; give an address of this machine, 0.0.0.0 for all of them")
        return host

    @field_validator("root_path")
    @classmethod
    def _root_path_is_one(cls, path: str) -> str:
        if not _ROOT_PATH.fullmatch(path):
            raise ValueError("it has to begin with / and not to end with one, such as /brain")
        return path

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"{error}; give addresses or networks, such as 10.0.0.0/8") from None
        return proxies

    @field_validator("public_url")
    @classmethod
    def _public_url_is_one(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            right = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            right = False
        if not right or not url.isprintable() or _NOT_IN_A_URL.search(url):
            raise ValueError(
                "it has to begin with http:// or https:// and a host, without an account, a query or spaces, "
                "such as https://brain.example.org"
            )
        return url.rstrip("/")

    @field_validator("webhook_headers")
    @classmethod
    def _headers_are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _HEADER.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header; give names such as X-Request-Id")
            if name.lower() in SECRET_HEADERS:
                raise ValueError(f"{name} holds what proves a sender, which is never recorded; leave it out")
        return tuple(name.lower() for name in names)

    @model_validator(mode="after")
    def _tls_has_both(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; give both or none")
        return self

    @model_validator(mode="after")
    def _urls_fit(self) -> Self:
        if self.public_url is not None and not urlsplit(self.public_url).path.endswith(self.root_path):
            raise ValueError(f"public_url has to end with root_path, {self.root_path}; give both as others see them")
        return self

    @property
    def base_url(self) -> str:
        """Where others reach the API, as far as the configuration says, without a slash at its end."""
        if self.public_url is not None:
            return self.public_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls_cert is None else 'https'}://{host}:{self.port}{self.root_path}"
