"""Where in a workflow file something was made, so that a complaint about it can name the line."""

from __future__ import annotations

import sys


def made_at(made: object) -> tuple[str, int]:
    """Return file and line of the call that makes an object; called from the `__init__` of its base class."""
    frame = sys._getframe(2)
    # A subclass with an __init__ of its own is not the place that the author looks for.
    while frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is made and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
