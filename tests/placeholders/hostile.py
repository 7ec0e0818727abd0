"""Texts that become code, options or other values wherever a place takes them for more than data (G22)."""

from __future__ import annotations

HOSTILE = {
    "substitution": "$(touch hit) `touch hit` ${HOME} $((1+1))",
    "quotes": "'; touch hit; '\"; touch hit; \"",
    "end of a here-document": "EOF\ntouch hit\nEOF",
    "new lines": "a\ntouch hit\r\n; touch hit",
    "options": "-rf --help -e 'touch hit'",
    "placeholders": "{inputs.secret} {{inputs.secret}} {trigger.id} {previous.said} {run.id} {env.PATH} {x} {}",
    "a chain": "x && touch hit || touch hit | touch hit & touch hit > hit",
    "globs": "* ? [a-z] ~ ~root {a,b} !! \\ %s %n",
    "a terminal": "\x1b]0;title\x07\x1b[2J\x1b[31mred",
    "odd letters": "\u202egnp.exe \u0000 \ud7ff \U0001f4a3 é",
    "python": "__import__('os').system('touch hit')",
    "a fence": "```sh\ntouch hit\n```",
    "json": '{"text": "$(touch hit)", "__class__": {"a": 1}}',
}
"""By what each tries; one that gets through leaves a file `hit`."""
