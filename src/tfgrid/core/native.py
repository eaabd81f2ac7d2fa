"""Whether the native module of this installation has something."""

from __future__ import annotations

__all__ = ["has"]


def has(name: str) -> bool:
    """Whether the native module is there and has a function of that name."""
    try:
        from tfgrid import _native
    except ImportError:
        return False
    return hasattr(_native, name)
