"""A backup of a folder that does not believe in a sudden loss.

    brain run examples/backup.py
    brain run examples/backup.py --input folder=/home/ann/papers --input into=/mnt/backups

Packs a folder into a dated .tar.gz and compares its size with that of the last successful run: when it is less than
half as large, the run fails and the new archive stays where it is, so that somebody looks. `--input shrunk_ok=true`
accepts it. A relative path starts at this file's folder. Names with spaces, quotes or line ends are safe: a value
never becomes shell text.
"""

from pathlib import Path

from brain_shell import ShellStep

from brain_core import FunctionStep, StepFailed, Workflow

PACK = """
set -eu
mkdir -p -- {inputs.into}
# The printed x keeps line ends that are part of a folder's name.
into=$(cd -- {inputs.into} && pwd -P && printf x); into=${into%??}
from=$(cd -- {inputs.folder} && pwd -P && printf x); from=${from%??}
case "$into/" in
  "${from%/}"/*) echo "$into is inside the folder that is packed; choose another place for the backups" >&2; exit 1 ;;
esac
archive="$into/backup-$(date -u +%Y%m%dT%H%M%SZ)-$$.tar.gz"
trap 'rm -f -- "$archive.part"' EXIT
tar -czf - -C "$from" . > "$archive.part"
mv -- "$archive.part" "$archive"
printf '%s' "$archive"
"""


def compare(size: int, last: int, archive: str, shrunk_ok: bool) -> str:
    """Fail when the archive is less than half as large as the last one; `last` is 0 on the first day."""
    size, last = int(size), int(last)
    if size * 2 < last and not shrunk_ok:
        raise StepFailed(
            f"{archive} has {size:,} bytes, less than half of the last backup's {last:,}: look at the folder"
        )
    return f"{size:,} bytes, the first backup" if last == 0 else f"{size:,} bytes, {last:,} before"


workflow = Workflow(
    name="backup",
    description="Packs a folder and checks the size against the previous run.",
    inputs={"folder": ".", "into": str(Path.home() / "brain-backups"), "shrunk_ok": False},
    steps=[
        ShellStep(name="pack", command=PACK, timeout=3_600),
        ShellStep(name="test", command="tar -tzf - < {pack} > /dev/null && echo readable"),
        ShellStep(name="size", command="wc -c < {pack} | tr -d ' '"),
        FunctionStep(
            name="compare",
            function=compare,
            args={
                "size": "{size}",
                "last": "{previous.size|0}",
                "archive": "{pack}",
                "shrunk_ok": "{inputs.shrunk_ok}",
            },
        ),
    ],
)
