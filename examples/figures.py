"""Today's figures against yesterday's: what has grown in a folder since the last run.

    brain run examples/figures.py
    brain register examples/figures.py --input folder=/srv/data

Counts the files and kilobytes of a folder and holds them against those of the last successful run, which
`{previous.step}` reads. On the first day there is none, and the text after the `|` stands in for it. Registered, it
runs at six each morning. A relative folder starts at this file's folder. A run that fails is no yesterday: the next
one compares with the day before it.
"""

from brain_shell import ShellStep

from brain_core import Cron, Workflow

COUNT = "cd -- {inputs.folder} && find . -type f -exec printf '%.0sx' {} + | wc -c | tr -d ' '"
SIZE = "cd -- {inputs.folder} && du -sk . | cut -f1"

# expr and not $((…)), which would run what a figure says if it were no figure. It exits with 1 for a difference of 0.
COMPARE = """
compare() {
  if [ -z "$3" ]; then
    printf '%s: %s, the first figure\\n' "$1" "$2"
  else
    change=$(expr "$2" - "$3") || [ "$change" = 0 ] || exit 1
    printf '%s: %s, %s before, change %s\\n' "$1" "$2" "$3" "$change"
  fi
}
compare files {files} {previous.files|}
compare kilobytes {kilobytes} {previous.kilobytes|}
"""

workflow = Workflow(
    name="figures",
    description="Counts what is in a folder and compares it with the last time.",
    inputs={"folder": "."},
    schedule=Cron("0 6 * * *", timezone="Europe/Berlin"),
    steps=[
        ShellStep(name="files", command=COUNT),
        ShellStep(name="kilobytes", command=SIZE),
        ShellStep(name="compare", command=COMPARE),
    ],
)
