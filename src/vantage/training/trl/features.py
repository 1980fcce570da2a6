"""Caches image features of a rollout batch if nothing in the vision path is trained."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import nn

from vantage.training.scoped import scoped
from vantage.training.trl.encoding import Encoding
from vantage.training.trl.prefix import drops

METHOD = "get_image_features"


class ImageFeatures:
    """Cache of image features of a rollout batch, separate for each model."""

    def __init__(self) -> None:
        self._fixed: dict[int, bool] = {}
        self._known: dict[tuple[int, Hashable], Any] = {}

    def clear(self) -> None:
        """Clear the cache."""
        self._known.clear()

    def reused(
        self, model: nn.Module, images: Sequence[tuple[Hashable, Encoding]]
    ) -> contextlib.AbstractContextManager:
        """Within the context, the model's forward reuses cached features, and caches new ones.

        Args:
            model: The bare model.
            images: (key that identifies the images, encoding) of each row with images.
        """
        holder = _holder(model)
        if holder is None or not images:
            return contextlib.nullcontext()
        remembering = self._remembering(model, getattr(holder, METHOD), images)
        return scoped(holder, **{METHOD: remembering})

    def _remembering(self, model: nn.Module, original: Callable, images) -> Callable:
        def remembered(*args, **kwargs):
            given = inspect.signature(original).bind(*args, **kwargs).arguments
            given.update(given.pop("kwargs", {}))
            _, first = images[0]
            if not self._is_fixed(model, lambda: original(**_for_one(given, first))):
                return original(*args, **kwargs)
            for key, encoding in images:
                if (id(model), key) not in self._known:
                    with torch.no_grad():
                        self._known[id(model), key] = original(**_for_one(given, encoding))
            return _together([self._known[id(model), key] for key, _ in images])

        return remembered

    def _is_fixed(self, model: nn.Module, look: Callable[[], Any]) -> bool:
        """Whether the features are independent of trainable weights and of random draws."""
        if id(model) not in self._fixed:
            self._fixed[id(model)] = not any(map(_changes, _modules_of(look)))
        return self._fixed[id(model)]


def _holder(model: nn.Module) -> nn.Module | None:
    """The innermost module with `get_image_features`, which its own forward calls."""
    found = [module for module in model.modules() if hasattr(module, METHOD)]
    return found[-1] if found else None


def _for_one(given: dict[str, Any], encoding: Encoding) -> dict[str, Any]:
    """Replace the arguments for all images by those of one row."""
    mine = dict(given)
    for name, value in encoding.fields.items():
        if torch.is_tensor(given.get(name)):
            mine[name] = value.to(device=given[name].device, dtype=given[name].dtype)
    return mine


def _modules_of(look: Callable[[], Any]) -> list[nn.Module]:
    """The modules whose forward `look` runs."""
    ran: list[nn.Module] = []
    hook = nn.modules.module.register_module_forward_pre_hook(lambda m, _: ran.append(m))
    try:
        with torch.no_grad():
            look()
    finally:
        hook.remove()
    return ran


def _changes(module: nn.Module) -> bool:
    """Whether a module itself has trainable weights or active dropout."""
    return drops(module) or any(p.requires_grad for p in module.parameters(recurse=False))


def _together(outputs: list[Any]) -> Any:
    """Merge the features of several rows into the model's output for a batch."""
    first = outputs[0]
    if len(outputs) == 1 or first is None:
        return first
    if torch.is_tensor(first):
        same = all(output.shape[1:] == first.shape[1:] for output in outputs)
        return torch.cat(outputs) if same else None
    if isinstance(first, list | tuple):
        return type(first)(value for output in outputs for value in output)
    merged = {name: _together([getattr(o, name) for o in outputs]) for name in first}
    if first.get("deepstack_features") is not None:  # per layer, one tensor for all images
        layers = zip(*(output.deepstack_features for output in outputs), strict=True)
        merged["deepstack_features"] = [_together(list(layer)) for layer in layers]
    return type(first)(**merged)
