"""Keys of model servers: where they come from, and that they never show (G23)."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
SHOWN = "***"
SHORTEST_IN_ERRORS = 4
SHORTEST_IN_ANSWERS = 8
"""Characters from which on a key is masked. A shorter one is a word such as `none`, which local servers are given."""


def reference_problem(key: object) -> str | None:
    """Return why this cannot be the `api_key` of a step: only a reference can, since the file's source is kept."""
    if isinstance(key, str) and REFERENCE.fullmatch(key):
        return None
    if isinstance(key, str) and key.startswith("env:"):
        return "api_key names no variable; write 'env:' and its name, such as api_key='env:OPENAI_API_KEY'"
    if isinstance(key, str) and not key.strip():
        return "api_key is empty; write api_key='env:NAME', or leave it out for a server that asks for no key"
    return (
        "api_key holds a key itself, and the source of a workflow is kept with its runs; "
        "write api_key='env:NAME' and put the key into the environment variable NAME"
    )


def key_problem(key: str) -> str | None:
    """Return why a key cannot be sent in a header, or None. Never shows it."""
    if key.startswith("env:"):
        return None if REFERENCE.fullmatch(key) else "after 'env:' stands the name of a variable"
    if not key.strip():
        return "the key is empty; leave api_key out for a server that asks for none"
    if not key.isascii() or any(ord(char) <= 32 or ord(char) == 127 for char in key):
        return "the key holds blanks, line ends or characters that no header can carry; copy it again"
    return None


def from_environment(reference: str) -> tuple[str | None, str]:
    """Return the key that a reference names, None where the variable is not set, and the variable's name."""
    match = REFERENCE.fullmatch(reference)
    name = match[1] if match else ""
    return (os.environ.get(name) or None), name


def forms_of(key: str) -> list[str]:
    """Return the ways in which a key may stand in a text: as it is, escaped, URL-encoded, in base64; longest first."""
    data = key.encode("utf-8", "surrogatepass")
    escaped = json.dumps(key)[1:-1]
    found = {key, escaped, escaped.replace("/", "\\/"), shlex.quote(key), repr(key)[1:-1]}
    for encoded in (quote(key, safe=""), quote(key), quote_plus(key)):
        found |= {encoded, re.sub(r"%[0-9A-F]{2}", lambda hit: hit[0].lower(), encoded)}
    # Inside a longer text (user:key, Bearer key) base64 depends on where the key begins in it, modulo three bytes.
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + data).decode()
        stable = coded[(0, 2, 3)[before] : (len(data) + before) // 3 * 4]
        if len(stable) >= SHORTEST_IN_ANSWERS:
            found |= {stable, stable.replace("+", "-").replace("/", "_")}
    whole = base64.b64encode(data).decode()
    found |= {whole, whole.rstrip("="), base64.urlsafe_b64encode(data).decode()}
    return sorted((form for form in found if form), key=len, reverse=True)


class Mask:
    """Takes a key out of texts that come from outside: a server may echo what it was sent."""

    def __init__(self, key: str | None) -> None:
        forms = forms_of(key) if key and len(key) >= SHORTEST_IN_ERRORS else []
        self._pattern = re.compile("|".join(map(re.escape, forms))) if forms else None
        self._forms = tuple(forms) if key and len(key) >= SHORTEST_IN_ANSWERS else ()

    def error(self, text: str) -> str:
        """Return the text of an error without the key."""
        return text if self._pattern is None else self._pattern.sub(SHOWN, text)

    def answer(self, text: str) -> str:
        """Return a model's text without the key; a key of under SHORTEST_IN_ANSWERS characters stays: it is a word."""
        return self.error(text) if self._forms else text

    def ended(self, text: str) -> str:
        """Return a model's text without the key, also where it was broken off in the middle of the key."""
        whole = self.answer(text)
        for form in self._forms:
            for size in range(min(len(form) - 1, len(whole)), max(SHORTEST_IN_ANSWERS, len(form) // 2) - 1, -1):
                if whole.endswith(form[:size]):
                    return whole[: len(whole) - size] + SHOWN
        return whole

    def value(self, value: Any) -> Any:
        """Return a JSON value without the key: written with escapes, it only shows once the text has been read."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.answer(value)
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if isinstance(value, dict):
            return {self.answer(name): self.value(one) for name, one in value.items()}
        return value

    def held(self, text: str) -> int:
        """Return how many characters at the end of a text may be the beginning of a key."""
        most = 0
        for form in self._forms:
            at = max(len(text) - len(form) + 1, 0)
            while (at := text.find(form[0], at)) >= 0 and len(text) - at > most:
                if form.startswith(text[at:]):
                    most = len(text) - at
                    break
                at += 1
        return most


@lru_cache(maxsize=64)
def mask_of(key: str | None) -> Mask:
    """Return the mask of a key."""
    return Mask(key)


class LiveMask:
    """Masks a text that comes in pieces; holds back what may become a key with the next piece."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._kept = ""

    def feed(self, text: str) -> str:
        whole = self._mask.answer(self._kept + text)
        cut = len(whole) - self._mask.held(whole)
        self._kept = whole[cut:]
        return whole[:cut]

    def rest(self) -> str:
        text, self._kept = self._kept, ""
        return self._mask.ended(text)
