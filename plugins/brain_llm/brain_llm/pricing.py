"""What a call has cost. An unknown price is None, never 0."""

from __future__ import annotations

from typing import Any

from brain_llm.endpoint import Endpoint


def cost_of(endpoint: Endpoint, model: str, usage: Any) -> str | None:
    """Return the price of a call in US dollars as decimal text, None where it is not known.

    The price is looked up by the server's address, in the table that genai-prices has in itself: a model on a server of
    one's own has no known price, whatever its name.
    """
    try:
        from genai_prices import calc_price
    except ImportError:
        return None
    for name in dict.fromkeys((model, endpoint.model)):
        try:
            if endpoint.protocol == "anthropic" and not endpoint.own_url:
                price = calc_price(usage, name, provider_id="anthropic")
            else:
                price = calc_price(usage, name, provider_api_url=endpoint.url)
        except Exception:  # noqa: BLE001, S112 - LookupError for what it does not know; a table is no reason to fail
            continue
        return format(price.total_price, "f")
    return None
