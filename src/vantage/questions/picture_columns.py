"""Find image columns by name and content; image columns that would be dropped are an error."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vantage.errors import InputError
from vantage.questions.column_kinds import Data, Held, is_in

PICTURES = re.compile(
    r"(?:(?:decoded|input|base64|raw)_?)?(?:image|img|picture|pic|photo)s?"
    r"(?:_?(?:path|file|file_?name|name|url|uri|bytes|base64|b64|data|list)s?)?(?:_?\d+)?"
    r"|file_?names?|jpe?g|png|webp",
    re.I,
)
IDS = re.compile(r"(?:image|img|picture)_?ids?", re.I)
PLAIN = ("image", "images", "img", "imgs", "picture", "pictures")  # unambiguous names
SAID = {
    "link": "holds URLs of images (they are not downloaded: download them and give paths)",
    "path": "holds paths of images (none of them exists: set image_root)",
    "conversation": "holds conversations with images",
}


def picture_columns(
    usual: Mapping[str, Sequence[str]] | None, data: Data, used: Collection[str], talk: Held
) -> dict[str, str | list[str] | None]:
    """Choose the image columns.

    Args:
        usual: Names of a layout; None to detect the columns.
        data: What the columns hold.
        used: Columns with another role.
        talk: What the question column holds.

    Raises:
        InputError: The choice is ambiguous, or a column with images is not chosen.
    """
    free = [name for name in data.held if not is_in(name, used)]
    real = [name for name in free if data.kind(name) == "picture"]
    called = _called(usual, data, free)
    chosen = _alike([name for name in called if name in real], data) or _promised(called, data)
    if len(chosen) > 1 and not _belong_together(chosen):
        raise InputError(_several(data, chosen))
    others = [
        name
        for name in real
        if not is_in(name, chosen) and not any(data.same(name, one) for one in chosen)
    ]
    if not chosen and not talk.pictures:
        others += [name for name in free if data.kind(name) in ("link", "path")]
        others += [name for name in free if data.held[name].pictures]
    if others:
        raise InputError(_unmapped(data, others, chosen))
    if usual is None and not chosen and not talk.pictures:
        _check_ids(data, free)
    chosen = _with_later(chosen, called, data)
    if set(chosen) == {"image", "images"}:
        return {"image": "image", "images": "images"}
    return {"image": None, "images": chosen[0] if len(chosen) == 1 else chosen or None}


def _called(
    usual: Mapping[str, Sequence[str]] | None, data: Data, free: Collection[str]
) -> list[str]:
    """Columns with the usual names of images: `image` and `images` first, then by number."""
    names = [name for name in data.names if name in free]
    if usual is not None:
        wanted = [*usual.get("images", ()), *usual.get("image", ())]
        return [name for name in wanted if name in names]
    there = [name for name in names if PICTURES.fullmatch(name)]
    return sorted(there, key=lambda name: (*_numbered(name), name not in ("image", "images")))


def _with_later(chosen: list[str], called: Sequence[str], data: Data) -> list[str]:
    """Add numbered columns of the same name that are empty in the sampled rows."""
    stems = {_numbered(name)[1] for name in chosen} - {""}
    if len(stems) != 1 or {"image", "images"} & set(chosen):
        return chosen
    empty = [name for name in called if data.kind(name) == "empty"]
    same = [name for name in empty if _numbered(name)[1] in stems and name not in chosen]
    return sorted([*chosen, *same], key=_numbered)


def _check_ids(data: Data, free: Collection[str]) -> None:
    """Reject data whose rows refer to images by an id while no column holds images."""
    for name in data.names:
        if name in free and IDS.fullmatch(name) and data.kind(name) != "empty":
            raise InputError(
                f"{data.source}: column {name!r} refers to images, but no column holds them\n"
                "  to use them, add a column    columns: {images: NAME}\n"
                "  to ignore them               columns: {images: null}"
            )


def _numbered(name: str) -> tuple[int, str]:
    number = re.search(r"\d+$", name)
    return (int(number[0]), name[: number.start()]) if number else (0, "")


def _alike(names: Sequence[str], data: Data) -> list[str]:
    """Remove columns with the same values as an earlier one."""
    kept: list[str] = []
    for name in names:
        if not any(data.same(name, earlier) for earlier in kept):
            kept.append(name)
    return kept


def _promised(called: Sequence[str], data: Data) -> list[str]:
    """Choose among columns with image names but without images in the sampled rows.

    Columns of URLs and paths come first, so that the faults of their rows are reported.
    """
    for kinds in (("link", "path"), ("number", "other", "text", "texts"), ("empty",)):
        there = [name for name in called if data.kind(name) in kinds]
        if kinds != ("empty",):
            there = [name for name in there if kinds[0] == "link" or name in PLAIN]
        if there:
            together = {"image", "images"} if {"image", "images"} <= set(there) else None
            return sorted(together) if together else there[:1]
    return []


def _belong_together(names: Sequence[str]) -> bool:
    """Whether columns form one list: image_1, image_2; or `image` and `images`."""
    stems = {_numbered(name)[1] for name in names}
    return set(names) == {"image", "images"} or (len(stems) == 1 and stems != {""})


def by_shape(pictures: Mapping[str, str | list[str] | None], data: Data) -> dict[str, Any]:
    """Assign a column of single images to `image` and any other to `images`."""
    one, several = pictures.get("image"), pictures.get("images")
    if one is not None and several is not None:
        return {"image": one, "images": several}
    name = one if several is None else several
    if not isinstance(name, str):
        return {"image": None, "images": name}
    known = data.held.get(name)
    lists = several is not None if known is None or known.kind == "empty" else known.several
    return {"image": None, "images": name} if lists else {"image": name, "images": None}


def _several(data: Data, names: Sequence[str]) -> str:
    told = " and ".join(map(repr, names))
    lines = [f"{data.source}: columns {told} hold images: choose those that the model sees"]
    lines += [f"  columns: {{images: {name}}}" for name in names]
    lines += [f"  columns: {{images: [{', '.join(names)}]}} for all of them"]
    return "\n".join(lines)


def _unmapped(data: Data, names: Sequence[str], chosen: Sequence[str]) -> str:
    """The error message for image columns that the model would not see."""
    lines = []
    for name in names:
        verb = SAID.get(data.kind(name), "holds images")
        lines.append(f"{data.source}: column {name!r} {verb}, which the model would not see")
        mapped = "question" if data.kind(name) == "conversation" else "images"
        mapping = f"[{', '.join([*chosen, name])}]" if chosen else name
        lines.append(f"  to use them     columns: {{{mapped}: {mapping}}}")
    kept = "null" if not chosen else chosen[0] if len(chosen) == 1 else f"[{', '.join(chosen)}]"
    lines.append(f"  to ignore them  columns: {{images: {kept}}}")
    return "\n".join(lines)
