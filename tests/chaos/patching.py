"""Putting something else in the place of what the product calls."""

from __future__ import annotations

from typing import Any


def patch(owner: Any, name: str, value: Any) -> None:
    """Puts `value` in the place of what `owner` calls `name`."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name}: the product has changed, so must this")
    setattr(owner, name, value)
