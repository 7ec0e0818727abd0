"""The settings that are secrets: long enough, shown to nobody, and gone where workflow code runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from brain_core.config import forget_secrets, load_settings
from brain_core.errors import ConfigError

HIDDEN = "hush"


@pytest.mark.parametrize("name", ["api_token", "master_key"])
def test_a_secret_is_masked_whole(name: str, tmp_path: Path) -> None:
    # As long as it has to be, and such that a reader of URLs would show a part of it.
    secret = f"postgresql://{HIDDEN}/{HIDDEN}{'x' * 40}"
    loaded = load_settings({name: secret}, start=tmp_path)
    entries: dict[str, Any] = {key: value for key, value, _ in loaded.entries()}
    assert entries[name] == "***"
    assert HIDDEN not in f"{loaded!r} {loaded.settings} {entries}"
    assert getattr(loaded.settings, name).get_secret_value() == secret


@pytest.mark.parametrize(("name", "least"), [("api_token", 16), ("master_key", 32)])
def test_a_short_secret_is_refused_and_not_shown(
    name: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"THE_BRAIN_{name.upper()}"
    monkeypatch.setenv(variable, HIDDEN.ljust(least, "x"))
    assert load_settings(start=tmp_path).settings is not None
    monkeypatch.setenv(variable, HIDDEN.ljust(least - 1, "x"))
    with pytest.raises(ConfigError) as caught:
        load_settings(start=tmp_path)
    assert str(caught.value) == (
        f"setting {name} (from {variable}): it has fewer than {least} characters; set {variable} to a longer one"
    )


@pytest.mark.parametrize("value", [f"['{HIDDEN}']", "{a = 'hush'}", "12345678901234567"])
def test_a_secret_of_another_type_is_not_shown(value: str, tmp_path: Path) -> None:
    for name in ("api_token", "master_key"):
        (tmp_path / "brain.toml").write_text(f"{name} = {value}")
        with pytest.raises(ConfigError, match=f"^setting {name} .*text in quotes") as caught:
            load_settings(start=tmp_path)
        assert HIDDEN not in str(caught.value)
        assert "1234567" not in str(caught.value)


@pytest.mark.parametrize("token", ["hush hush hush hush", "hüsh-hüsh-hüsh-hüsh", "hush-hush-hush-hush\n"])
def test_a_token_that_no_header_carries_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_BRAIN_API_TOKEN", token)
    with pytest.raises(ConfigError, match=r"^setting api_token .*no header can carry; set THE_BRAIN_") as caught:
        load_settings()
    assert "sh" not in str(caught.value).replace("THE_BRAIN_API_TOKEN", "")


def test_secrets_are_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("THE_BRAIN_API_TOKEN", "the_brain_master_key", "THE_BRAIN_BEAT"):
        monkeypatch.setenv(name, "5")
    forget_secrets()
    assert {name for name in os.environ if name.upper().startswith("THE_BRAIN_")} >= {"THE_BRAIN_BEAT"}
    assert not {name.upper() for name in os.environ} & {"THE_BRAIN_API_TOKEN", "THE_BRAIN_MASTER_KEY"}
