"""A digest of the day's notes, written by a language model that knows what it wrote yesterday.

    brain run examples/daily_digest.py
    uv run --group llm-real python examples/local_model/serve.py brain run -v examples/daily_digest.py

The first line needs a configured model, the second brings a small one along that needs no network and no key.
`{previous.digest}` is the digest of the last successful run, and the text after the `|` stands in for it on the first
day. A relative path of `notes` starts at this file's folder. Registered, it runs each evening at half past nine:

    brain register examples/daily_digest.py --input notes=/srv/notes/today.txt
"""

from brain_llm import LLMStep
from brain_shell import ShellStep

from brain_core import Cron, Workflow

# The notes are in the middle: a small model holds on to the first and the last that it reads.
PROMPT = """\
Summarise these notes in two short sentences.

{notes}

(Yesterday it was: {previous.digest|nothing})"""

workflow = Workflow(
    name="daily_digest",
    description="Sums up the notes of the day, and knows what was said yesterday.",
    inputs={"notes": "daily_digest_notes.txt"},
    schedule=Cron("30 21 * * *", timezone="Europe/Berlin"),
    steps=[
        # The end of the file, as much as a small model can read.
        ShellStep(name="notes", command="tail -n 40 -- {inputs.notes} | tail -c 4000"),
        LLMStep(name="digest", system="You summarise notes.", prompt=PROMPT, temperature=0, max_tokens=300),
        # What the model says is an argument here and never code.
        ShellStep(name="page", command="""printf 'Digest of %s\\n\\n%s\\n' "$(date +%F)" {digest}"""),
    ],
)
