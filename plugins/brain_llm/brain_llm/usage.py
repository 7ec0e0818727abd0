"""What the calls come to: of one run for `brain show`, over time for `brain llm usage`."""

from __future__ import annotations

from typing import Any


async def facts_of(run_id: str, query: Any) -> dict[str, Any]:
    """Return the sums of a run's calls, nothing for a run without any. A cost that is not known is left out."""
    rows = await query("llm_run_facts", {"run_id": run_id})
    if not rows or not rows[0]["calls"]:
        return {}
    found = rows[0]
    facts = {"calls": found["calls"]}
    if found["failed"]:
        facts["failed"] = found["failed"]
    if found["open"]:
        facts["unknown"] = found["open"]
    facts |= {"tokens in": found["input_tokens"], "tokens out": found["output_tokens"], "cost": found["cost"]}
    if found["cost"] is not None and found["unpriced"]:
        facts["without a price"] = found["unpriced"]
    if found["latency_ms"] is not None:
        facts["seconds"] = round(found["latency_ms"] / 1000, 1)
    return {name: value for name, value in facts.items() if value is not None}


HEADERS = ("CALLS", "FAILED", "UNKNOWN", "TOKENS IN", "TOKENS OUT", "COST $", "MEAN S")


def row_of(group: dict[str, Any]) -> list[str]:
    """Return a group of calls as the cells of a table; `-` where nothing is known."""
    cost = group["cost"]
    if cost is not None:
        cost = f"{float(cost):,.4f}" + (f" (+{group['unpriced']} unknown)" if group["unpriced"] else "")
    return [
        str(group["group"]),
        f"{group['calls']:,}",
        f"{group['failed']:,}",
        f"{group['open']:,}",
        _number(group["input_tokens"]),
        _number(group["output_tokens"]),
        cost or "-",
        "-" if group["latency_ms"] is None else f"{group['latency_ms'] / 1000:.1f}",
    ]


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
