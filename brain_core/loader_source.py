"""The first half of loading: from a path that a user wrote to the text of a workflow file."""

from __future__ import annotations

import os
import stat
from itertools import islice
from pathlib import Path

from brain_core.errors import WorkflowFileError, nearest

MAX_FILE_BYTES = 4 * 1024 * 1024
"""How large a workflow file may be."""

_MAX_LISTED = 10_000


def one_line(text: str, limit: int = 500) -> str:
    """Return text as one printable line: white space folded, other control characters and surrogates escaped."""
    folded = " ".join(text[: limit * 8].split())
    line = folded if folded.isprintable() else "".join(map(_visible, folded))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _visible(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")


def read_source(file: str | Path, shown: str) -> tuple[Path, str]:
    """Return the real path and the text of a workflow file; WorkflowFileError says why it cannot be had."""
    try:
        name = os.fspath(file)
        path = Path(name).resolve()
        data = _read(name, path, shown)
    except ValueError:
        raise WorkflowFileError("a file name cannot hold a NUL character", file=shown) from None
    except (OSError, RuntimeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise WorkflowFileError(f"the file cannot be read: {one_line(why)}", file=shown) from None
    try:
        str(path).encode()
    except UnicodeEncodeError:
        # The history could not hold it.
        which = "name" if path.parent == Path(os.fsencode(path.parent).decode("utf-8", "replace")) else "folder"
        raise WorkflowFileError(
            f"the {which} of the file is not UTF-8 ({one_line(str(path), 200)}); rename it", file=shown
        ) from None
    return path, _decode(data, shown)


def _read(name: str, path: Path, shown: str) -> bytes:
    if not name.strip():
        raise WorkflowFileError("the name of the workflow file is empty; give the path of a .py file", file="''")
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise WorkflowFileError(_missing(name, path), file=shown) from None
    if stat.S_ISDIR(status.st_mode):
        raise WorkflowFileError(f"this is a folder; name a workflow file{_example(path, name)}", file=shown)
    if not stat.S_ISREG(status.st_mode):
        raise WorkflowFileError("this is not a regular file; a workflow is a .py file", file=shown)
    if Path(name).suffix != ".py":
        raise WorkflowFileError("the name does not end in .py; a workflow is a Python file", file=shown)
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        size = max(status.st_size, len(data))
        raise WorkflowFileError(
            f"the file has {size:,} bytes; a workflow file has {MAX_FILE_BYTES:,} at most", file=shown
        )
    return data


def _decode(data: bytes, shown: str) -> str:
    if (at := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise WorkflowFileError("the file holds a NUL byte, so it is not Python text", file=shown, line=line)
    try:
        # utf-8-sig: a byte order mark at the start is no part of the program.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = error.object[error.start]
        line = error.object.count(b"\n", 0, error.start) + 1
        raise WorkflowFileError(
            f"the file is not UTF-8 (byte 0x{bad:02x}); save it as UTF-8", file=shown, line=line
        ) from None


def _missing(name: str, path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no such file, nor the folder '{one_line(str(Path(name).parent))}'"
    files = _python_files(folder)
    if path.name + ".py" in files:
        return f"there is no such file; did you mean '{one_line(path.name)}.py'?"
    return f"there is no such file{one_line(nearest(path.name, files))}"


def _example(folder: Path, name: str) -> str:
    try:
        files = _python_files(folder)
    except OSError:
        files = []
    return f" in it, such as {one_line(str(Path(name) / files[0]))}" if files else "; there is none in it"


def _python_files(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in islice(entries, _MAX_LISTED) if entry.name.endswith(".py"))
