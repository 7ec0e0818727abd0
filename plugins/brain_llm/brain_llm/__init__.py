"""brain-llm: `LLMStep`, a step that asks a language model, with a row for each call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain_llm.step import LLMStep

__all__ = ["LLMStep"]


def __getattr__(name: str) -> Any:
    if name != "LLMStep":
        raise AttributeError(f"module 'brain_llm' has no attribute '{name}'")
    from brain_llm.step import LLMStep

    globals()[name] = LLMStep
    return LLMStep
