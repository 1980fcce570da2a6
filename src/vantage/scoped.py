"""Temporary values of attributes, and the temporary mode of a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def scoped(owner: Any, **values: Any) -> Iterator[None]:
    """Set attributes of `owner` within the context, and restore them afterwards."""
    before = {name: getattr(owner, name) for name in values}
    # Methods and other attributes of the class, which the instance only hides for a while.
    hidden = [n for n in values if n not in vars(owner) and hasattr(type(owner), n)]
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            if name in hidden:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a PyTorch model in evaluation mode within the context."""
    mode = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(mode)
