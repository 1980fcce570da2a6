"""Shares image features between the rows of a forward, and between forwards."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from vantage.scoped import scoped
from vantage.training.trl.encoding import Encoding
from vantage.training.trl.prefix import drops

METHOD = "get_image_features"


class Vision(NamedTuple):
    """Properties of the vision path of a model.

    Attributes:
        is_fixed: Whether the features are independent of trainable weights and of random draws.
        is_random: Whether the features depend on random draws, which differ between rows.
    """

    is_fixed: bool
    is_random: bool


class ImageFeatures:
    """Image features of a rollout batch: each image is encoded once per forward.

    If nothing in the vision path is trained, it is encoded once per rollout batch and model.
    """

    def __init__(self) -> None:
        self._vision: dict[int, Vision] = {}
        self._known: dict[tuple[int, Hashable], Any] = {}

    def clear(self) -> None:
        """Clear the cache."""
        self._known.clear()

    def shares(self, model: nn.Module, images: Sequence[tuple[Hashable, Encoding]]) -> bool:
        """Whether `shared` encodes the images one by one, and ignores the model's pixel values."""
        vision = self._vision.get(id(model))
        if vision is None:  # no forward has shown it yet
            return False
        keys = [key for key, _ in images]
        return vision.is_fixed or (len({*keys}) < len(keys) and not vision.is_random)

    def shared(
        self, model: nn.Module, images: Sequence[tuple[Hashable, Encoding]]
    ) -> contextlib.AbstractContextManager:
        """Within the context, rows with the same images share their features.

        Args:
            model: The bare model.
            images: (key that identifies the images, encoding) of each row with images.
        """
        holder = _holder(model)
        if holder is None or not images:
            return contextlib.nullcontext()
        sharing = self._sharing(model, getattr(holder, METHOD), images)
        return scoped(holder, **{METHOD: sharing})

    def _sharing(self, model: nn.Module, original: Callable, images) -> Callable:
        def shared(*args, **kwargs):
            given = inspect.signature(original).bind(*args, **kwargs).arguments
            given.update(given.pop("kwargs", {}))
            if id(model) not in self._vision:
                first = _for_one(given, images[0][1])
                self._vision[id(model)] = _vision_of(_modules_of(lambda: original(**first)))
            if not self.shares(model, images):
                return original(*args, **kwargs)
            fixed = self._vision[id(model)].is_fixed
            found = self._known if fixed else {}
            with torch.no_grad() if fixed else contextlib.nullcontext():
                for key, encoding in images:
                    if (id(model), key) not in found:
                        found[id(model), key] = original(**_for_one(given, encoding))
            return _together([found[id(model), key] for key, _ in images])

        return shared


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


def _vision_of(modules: Sequence[nn.Module]) -> Vision:
    return Vision(not any(map(_changes, modules)), any(map(drops, modules)))


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
