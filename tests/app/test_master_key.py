"""The master key: made once, whoever asks first, and refused when others may know it."""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import sys
from pathlib import Path

import pytest

from brain_core.app import Brain
from brain_core.app.master_key import FILE, derived, master_key
from brain_core.config import Settings, load_settings
from brain_core.errors import BrainError


def settings(home: Path) -> Settings:
    return load_settings({"home": home}, start=home.parent).settings


def test_it_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    made = master_key(settings(home))
    assert len(made) == 32
    assert (home / FILE).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o077 == 0
    assert (home / FILE).read_text() == made.hex() + "\n"
    assert master_key(settings(home)) == made
    assert [one.name for one in home.iterdir()] == [FILE]
    assert master_key(settings(tmp_path / "b")) != made


def test_all_that_ask_at_once_get_the_same_one(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from brain_core.app.master_key import master_key\n"
        "from brain_core.config import load_settings\n"
        "settings = load_settings({'home': sys.argv[1]}).settings\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(master_key(settings).hex())\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "home")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
        )
        for _ in range(4)
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    keys = {each.communicate(timeout=180)[0] for each in started}
    assert keys == {(tmp_path / "home" / FILE).read_text()}


def test_one_that_was_made_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = "ab" * 32
    link = os.link

    def late(source: str, target: Path) -> None:
        target.write_text(there)
        target.chmod(0o600)
        link(source, target)

    # Between the look and the making another process is done.
    monkeypatch.setattr(os, "link", late)
    assert master_key(settings(tmp_path)).hex() == there
    assert [one.name for one in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_one_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    made = master_key(settings(tmp_path))
    (tmp_path / FILE).chmod(mode)
    with pytest.raises(BrainError, match=f"may be read or changed by others .mode {mode:o}") as caught:
        master_key(settings(tmp_path))
    assert str(tmp_path / FILE) in str(caught.value)
    assert made.hex() not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "ab", "ab" * 31 + "a", "ab" * 32 + "a", "xy" * 32, "ab" * 5_000, "\n" + "ab" * 32]
)
def test_a_damaged_one_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).touch(mode=0o600)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(BrainError, match="is damaged") as caught:
        master_key(settings(tmp_path))
    assert str(tmp_path / FILE) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "abab" not in str(caught.value)
    assert (tmp_path / FILE).read_text() == text


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE, 0o600)
    with pytest.raises(BrainError, match="is no ordinary file"):
        master_key(settings(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(BrainError, match="cannot be used as the master key: "):
        master_key(settings(tmp_path / "file"))


def test_a_link_to_a_secret_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to("mounted/later")
    with pytest.raises(BrainError, match=r"is a link to what is not there; restore 'mounted/later'"):
        master_key(settings(tmp_path))
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "later").touch(mode=0o600)
    (tmp_path / "mounted" / "later").write_text("ab" * 32)
    assert master_key(settings(tmp_path)).hex() == "ab" * 32


def test_that_of_the_settings_counts_and_leaves_no_file(tmp_path: Path) -> None:
    given = load_settings({"home": tmp_path / "home", "master_key": "k" * 32}, start=tmp_path).settings
    assert master_key(given) == hashlib.sha256(b"k" * 32).digest()
    assert not (tmp_path / "home").exists()


def test_a_key_for_each_purpose() -> None:
    assert derived(b"m" * 32, "a") == hmac.new(b"m" * 32, b"a", "sha256").digest()
    assert derived(b"m" * 32, "a") != derived(b"m" * 32, "b")


async def test_a_brain_derives_keys(brain: Brain) -> None:
    master = master_key(brain.settings)
    assert brain.derive_key("webhook é") == derived(master, "webhook é")
