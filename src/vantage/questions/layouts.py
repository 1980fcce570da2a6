"""Which columns hold what, in the layouts that data sets are published in."""

from __future__ import annotations

from collections.abc import Collection

from vantage.errors import ConfigError, InputError, nearest
from vantage.sections import Section


class Columns(Section):
    """Which columns hold what; those that are left out follow the layout.

    `image` holds one picture a row, `images` a list; `id` names rows, each once. None for a
    column that there is not.
    """

    question: str | None = None
    answer: str | None = None
    image: str | None = None
    images: str | None = None
    id: str | None = None


# Of each kind of column the names it may have, the first one there counts.
EASYR1: dict[str, tuple[str, ...]] = {
    "question": ("problem",),
    "answer": ("answer",),
    "images": ("images",),
}
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "easyr1": EASYR1,
    "share-vl": EASYR1,  # and other wordings, which `variants.rewrites` names
    "mmk12": {"question": ("question",), "answer": ("answer",), "image": ("image",)},
    "trl": {
        "question": ("prompt",),
        "answer": ("answer", "solution"),
        "image": ("image",),
        "images": ("images",),
    },
    "image-folder": {
        "question": ("question", "problem", "prompt", "text"),
        "answer": ("answer", "solution", "label"),
        "image": ("file_name",),
    },
}
# What a layout may go without.
OPTIONAL = ("image", "images", "id")


def resolve(given: Columns, layout: str | None, names: Collection[str], source: str) -> Columns:
    """All columns by name: those given, the others as the layout says.

    Args:
        given: what the user named.
        layout: one of `LAYOUTS`; None for the first one that fits.
        names: columns that the data have.
        source: of the data, for messages.

    Raises:
        ConfigError: an unknown layout.
        InputError: a column that is not there; names the nearest one.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"layout={layout!r}: {nearest(layout, LAYOUTS)}")
    kinds = LAYOUTS[layout] if layout else _fitting(given, names)
    chosen = {"id": "id" if "id" in names else None}
    for kind, candidates in kinds.items():
        there = next((name for name in candidates if name in names), None)
        chosen[kind] = there if kind in OPTIONAL else there or candidates[0]
    chosen |= given.model_dump(exclude_unset=True)
    for kind, name in chosen.items():
        if name is not None and name not in names:
            raise InputError(f"{source}: no column {name!r} for the {kind}; {nearest(name, names)}")
    if chosen["question"] is None:
        raise ConfigError("columns.question is null: every row needs a question")
    return Columns(**chosen)


def _fitting(given: Columns, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The first layout whose needs are met by the data or by what the user named."""
    named = given.model_fields_set

    def fits(kinds: dict[str, tuple[str, ...]]) -> bool:
        needed = [kind for kind in kinds if kind not in OPTIONAL and kind not in named]
        return all(any(name in names for name in kinds[kind]) for kind in needed)

    with_pictures = [
        kinds
        for kinds in LAYOUTS.values()
        if any(name in names for kind in ("image", "images") for name in kinds.get(kind, ()))
    ]
    candidates = [*with_pictures, LAYOUTS["trl"], *LAYOUTS.values()]
    return next(filter(fits, candidates), LAYOUTS["trl"])
