"""What is said of wrong values in [plugins.http_api]: one line with the value, and what to give."""

from __future__ import annotations

import json

import pytest
from brain_http_api.settings import HttpApiSettings

from brain_core import BrainError
from brain_core.plugin.sections import settings_from

LIST = 'it has to be a list, such as ["a", "b"]'
URL = (
    "it has to begin with http:// or https:// and a host, without an account, a query or spaces, "
    "such as https://brain.example.org"
)
WRONG = [
    ({"workflows_dirs": "flows"}, f"workflows_dirs is 'flows': {LIST}"),
    ({"workflows_dirs": [1]}, "workflows_dirs.0 is 1: it has to be a path, as text in quotes"),
    ({"trusted_proxies": "10.0.0.0/8"}, f"trusted_proxies is '10.0.0.0/8': {LIST}"),
    ({"webhook_headers": "X-A"}, f"webhook_headers is 'X-A': {LIST}"),
    (
        {"webhook_headers": ["a b"]},
        "webhook_headers is ['a b']: 'a b' is no name of a header; give names such as X-Request-Id",
    ),
    ({"port": "http"}, "port is 'http': it has to be a whole number"),
    ({"port": 80.5}, "port is 80.5: it has to be a whole number"),
    ({"port": 70_000}, "port is 70000: it has to be less than or equal to 65535"),
    ({"max_body": "1 MB"}, "max_body is '1 MB': it has to be a whole number"),
    ({"header_timeout": "ten"}, "header_timeout is 'ten': it has to be a number"),
    ({"header_timeout": float("nan")}, "header_timeout is nan: it has to be greater than 0"),
    ({"enabled": "maybe"}, "enabled is 'maybe': it has to be true or false"),
    ({"host": 5}, "host is 5: it has to be text in quotes"),
    ({"host": ""}, "host is '': it is empty; give an address of this machine, 0.0.0.0 for all of them"),
    ({"tls_cert": {"x": 1}}, "tls_cert is {'x': 1}: it has to be a path, as text in quotes"),
    ({"root_path": "brain/"}, "root_path is 'brain/': it has to begin with / and not to end with one, such as /brain"),
    *(
        ({"public_url": url}, f"public_url is {url!r}: {URL}")
        for url in ("brain.example.org", "https://", "https://[::1", "https://a b", "https://a/?b", "https://a:port")
    ),
]


@pytest.mark.parametrize(("section", "line"), WRONG, ids=lambda value: json.dumps(value)[:40])
def test_a_wrong_value_is_told_with_what_to_give(section: dict[str, object], line: str) -> None:
    with pytest.raises(BrainError) as caught:
        settings_from(HttpApiSettings, "http_api", section)
    assert str(caught.value) == f"setting plugins.http_api.{line}"


@pytest.mark.parametrize("url", ["https://brain.example.org/", "http://[::1]:8001", "https://bräin.example/in"])
def test_a_url_may_have_a_port_and_a_path(url: str) -> None:
    assert HttpApiSettings(public_url=url).base_url == url.rstrip("/")
