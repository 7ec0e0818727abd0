"""Where settings come from, which of them wins, and what is said about wrong ones."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from brain_core.config import load_settings
from brain_core.errors import ConfigError


@pytest.fixture(autouse=True)
def _nothing_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("THE_BRAIN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_flags_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    file = tmp_path / "brain.toml"
    file.write_text("hook_timeout = 1\nimport_timeout = 2\nplugin_timeout = 3\n")
    monkeypatch.setenv("THE_BRAIN_IMPORT_TIMEOUT", "20")
    monkeypatch.setenv("THE_BRAIN_PLUGIN_TIMEOUT", "30")
    loaded = load_settings({"plugin_timeout": 300}, start=inner)
    values = loaded.settings
    assert (values.hook_timeout, values.import_timeout, values.plugin_timeout, values.beat) == (1, 20, 300, 5)
    names = ("hook_timeout", "import_timeout", "plugin_timeout", "beat")
    assert [loaded.origin(name) for name in names] == [str(file), "THE_BRAIN_IMPORT_TIMEOUT", "flag", "default"]


def test_the_nearest_file_counts_then_pyproject_then_the_users(tmp_path: Path) -> None:
    users = tmp_path / "config" / "brain"
    users.mkdir(parents=True)
    (users / "brain.toml").write_text("beat = 1")
    work = tmp_path / "work"
    work.mkdir()
    assert load_settings(start=work).origin("beat") == str(users / "brain.toml")
    (work / "pyproject.toml").write_text("[tool.other]\nx = 1")
    assert load_settings(start=work).settings.beat == 1
    (work / "pyproject.toml").write_text("[tool.brain]\nbeat = 2")
    assert load_settings(start=work).settings.beat == 2
    (work / "brain.toml").write_text("beat = 3")
    assert load_settings(start=work).settings.beat == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("beet = 1", "'beet' is no setting (from {file}); did you mean 'beat'?; `brain config` lists them"),
        (
            "[cron]\ntimezone = 'UTC'",
            "'cron' is no setting (from {file}); did you mean 'plugins.cron'?; `brain config`",
        ),
        ("beat = 'soon'", "setting beat is 'soon' (from {file}): it has to be a number"),
        ("beat = 6", "the settings do not fit together: lease (15 s) has to be at least three beats (6 s each)"),
        ("beat = ", "{file} cannot be read: Invalid value"),
        ("database_url = 5", "setting database_url (from {file}): it has to be text in quotes"),
        ("concurrency = 1.5", "setting concurrency is 1.5 (from {file}): it has to be a whole number"),
        ("concurrency = 0", "setting concurrency is 0 (from {file}): it has to be greater than 0"),
        ("log_format = 'xml'", "setting log_format is 'xml' (from {file}): it has to be 'text' or 'json'"),
        ("home = 3", "setting home is 3 (from {file}): it has to be a path, as text in quotes"),
        ("retention = 3", "setting retention is 3 (from {file}): it has to be a table"),
        ("retention.days = []", "setting retention.days is [] (from {file}): it has to be a number"),
        ("database_pooler = 'x'", "setting database_pooler is 'x' (from {file}): it has to be true or false"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "brain.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(start=tmp_path)
    assert complaint.format(file=file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_variable_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_BRAIN_DATABSE_URL", "postgresql://u:secret@h/db")
    with pytest.raises(ConfigError, match="THE_BRAIN_DATABSE_URL is no setting; did you mean 'THE_BRAIN_DATABASE_URL'"):
        load_settings(start=tmp_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:hush@db.example:5432/brain", "postgresql://ann:***@db.example:5432/brain"),
        ("postgresql://ann:hu:sh%40@db/brain?sslmode=require", "postgresql://ann:***@db/brain?sslmode=require"),
        ("postgresql:///brain?host=/run&password=hush", "postgresql:///brain?host=/run&password=***"),
        ("postgresql://db/brain", "postgresql://db/brain"),
    ],
)
def test_the_password_is_not_shown(tmp_path: Path, url: str, shown: str) -> None:
    loaded = load_settings({"database_url": url}, start=tmp_path)
    entries: dict[str, Any] = {name: value for name, value, _ in loaded.entries()}
    assert entries["database_url"] == shown
    assert "hu" not in repr(loaded.settings)


def test_sections_of_plugins_merge_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brain.toml").write_text("[plugins.x]\na = 1\nb = 2\n")
    monkeypatch.setenv("THE_BRAIN_PLUGINS__X__B", "3")
    loaded = load_settings(start=tmp_path)
    assert loaded.settings.plugins["x"]["a"] == 1
    assert str(loaded.settings.plugins["x"]["b"]) == "3"
    assert loaded.origin("plugins.x.a") == str(tmp_path / "brain.toml")
    assert loaded.origin("plugins.x.b") == "THE_BRAIN_PLUGINS__X__B"


def test_a_variable_may_hold_the_list_of_disabled_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_BRAIN_PLUGINS__DISABLE", '["hello", "shell"]')
    loaded = load_settings(start=tmp_path)
    assert loaded.settings.plugins == {"disable": ["hello", "shell"]}
    assert loaded.origin("plugins.disable") == "THE_BRAIN_PLUGINS__DISABLE"
    monkeypatch.setenv("THE_BRAIN_PLUGINS__DISABLE", "hello")
    with pytest.raises(ConfigError) as caught:
        load_settings(start=tmp_path)
    assert str(caught.value) == (
        "setting plugins.disable is 'hello' (from THE_BRAIN_PLUGINS__DISABLE); "
        'write the list as JSON, such as ["hello"]'
    )


def test_a_working_directory_that_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    # Judged back in a folder that is there: pytest cannot report a failure from one that is gone.
    with monkeypatch.context() as there:
        there.chdir(gone)
        gone.rmdir()
        with pytest.raises((ConfigError, OSError)) as caught:
            load_settings()
    assert str(caught.value) == "the working directory is gone; change to another folder"


def test_a_folder_that_may_not_be_read_is_one_line() -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from brain_core.config import load_settings\n"
        "from brain_core.errors import ConfigError\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try: load_settings(start=Path(sys.argv[1]))\n"
        "except ConfigError as error: print(error)\n"
    )
    # Root may read everything, so a process that is not root looks; all above the folder has to let it pass.
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        (folder := Path(base) / "locked").mkdir(mode=0)
        done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == (
        f"{folder}/brain.toml may not be read, and could hold settings; change to another folder or its rights\n"
    )


def test_a_plugin_has_variables_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brain.toml").write_text("[plugins.cron]\ntimezone = 'UTC'\n[plugins.shell]\npass_env = ['A']")
    monkeypatch.setenv("THE_BRAIN_CRON_TIMEZONE", "Asia/Tehran")
    monkeypatch.setenv("THE_BRAIN_SHELL_PASS_ENV", '["B", "C"]')
    monkeypatch.setenv("THE_BRAIN_SHELL_INNER__TABLE__KEY", "x")
    monkeypatch.setenv("THE_BRAIN_SHELL_EMPTY", "")
    loaded = load_settings(start=tmp_path)
    assert loaded.settings.plugins == {
        "cron": {"timezone": "Asia/Tehran"},
        "shell": {"pass_env": ["B", "C"], "inner": {"table": {"key": "x"}}},
    }
    assert loaded.origin("plugins.cron.timezone") == "THE_BRAIN_CRON_TIMEZONE"
    assert loaded.origin("plugins.shell.pass_env") == "THE_BRAIN_SHELL_PASS_ENV"
    # The long way of writing it goes over the short one.
    monkeypatch.setenv("THE_BRAIN_PLUGINS__CRON__TIMEZONE", "Asia/Tokyo")
    loaded = load_settings(start=tmp_path)
    assert loaded.settings.plugins["cron"] == {"timezone": "Asia/Tokyo"}
    assert loaded.origin("plugins.cron.timezone") == "THE_BRAIN_PLUGINS__CRON__TIMEZONE"


def test_a_variable_of_no_installed_plugin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("THE_BRAIN_CRONN_TIMEZONE", "THE_BRAIN_CRON_", "THE_BRAIN_CRON"):
        monkeypatch.setenv(name, "UTC")
        with pytest.raises(ConfigError, match=f"^{name} is no setting"):
            load_settings(start=tmp_path)
        monkeypatch.delenv(name)


def test_two_variables_of_a_plugin_that_contradict_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for names in (("THE_BRAIN_CRON_A", "THE_BRAIN_CRON_A__B"), ("THE_BRAIN_CRON_A__B", "THE_BRAIN_CRON_A")):
        for name in names:
            monkeypatch.setenv(name, "1")
        with pytest.raises(ConfigError, match="set the same setting"):
            load_settings(start=tmp_path)
        for name in names:
            monkeypatch.delenv(name)
