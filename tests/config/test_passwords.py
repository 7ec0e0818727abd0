"""A password with a character that ends a part of a URL is refused, before anything can show its rest."""

from __future__ import annotations

import pytest

from brain_core.config import load_settings
from brain_core.errors import ConfigError

HIDDEN = "hush"


@pytest.mark.parametrize("mark", ["/", "?", "#"])
def test_a_password_that_is_not_escaped_is_refused_and_not_shown(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_BRAIN_DATABASE_URL", f"postgresql://u:12{mark}{HIDDEN}@localhost/db")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "%2F" in str(caught.value)
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%2Fw@localhost/db",
        "postgresql://localhost:5432/db",
        "postgresql:///db?host=/run/x",
        "postgresql://brain@/brain?host=/tmp/a&port=5432",
        "postgresql://localhost:5432/db?user=me@example",
    ],
)
def test_ordinary_urls_pass(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_BRAIN_DATABASE_URL", url)
    assert load_settings().settings.database_url is not None


def test_what_is_not_a_url_is_not_shown_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_BRAIN_DATABASE_URL", f"postgresql://[u:{HIDDEN}@localhost/db")
    shown = {name: value for name, value, _ in load_settings().entries()}
    assert shown["database_url"] == "***"
