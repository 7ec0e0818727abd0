"""What a trial leaves: its seed, and of a long one a JSON file with what was tried and counted."""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parent / "results"


class Trial:
    """One trial under way. `rng` decides all that is left to chance; `count` keeps what is worth telling."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed
        self.rng = random.Random(seed)
        self.counts: dict[str, int] = {}

    def count(self, **numbers: int) -> None:
        self.counts |= {name.replace("_", " "): number for name, number in numbers.items()}


def chosen(usual: int) -> int:
    """Return how often to try: what THE_BRAIN_TEST_TRIALS says, else the usual number."""
    return int(os.environ.get("THE_BRAIN_TEST_TRIALS") or usual)


@contextmanager
def trial(name: str, *, long: bool) -> Iterator[Trial]:
    """Print the seed, and keep the result of a long trial for the report."""
    seed = int(os.environ.get("THE_BRAIN_TEST_SEED") or secrets.randbelow(10**9))
    print(f"trial {name}: THE_BRAIN_TEST_SEED={seed}")  # noqa: T201 - this is how it is repeated
    made, began, outcome = Trial(name, seed), time.monotonic(), "broken"
    try:
        yield made
        outcome = "held"
    finally:
        if long:
            facts = {
                "trial": name,
                "outcome": outcome,
                "seed": seed,
                "on": datetime.now(UTC).date().isoformat(),
                "minutes": round((time.monotonic() - began) / 60, 1),
                "counts": made.counts,
            }
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
