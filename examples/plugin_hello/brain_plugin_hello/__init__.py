"""brain-plugin-hello: what workflow files import."""

from __future__ import annotations

from brain_plugin_hello.step import Hello, HelloSettings

__all__ = ["Hello", "HelloSettings"]
