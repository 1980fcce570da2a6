"""Bad data are reported by row and reason, in bounded time and memory."""

import io
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, List, Value
from datasets import Image as Stored
from PIL import Image

from vantage.errors import VantageError
from vantage.questions.layouts import Columns
from vantage.questions.loading import load
from vantage.questions.schema import read
from vantage.questions.variants import Transforms, Variants
from vantage.rewards.accuracy import accuracy

SECONDS = 30  # for one input
MEGABYTES = 700  # more than without bombs
LIBRARIES = ("Traceback", "site-packages", "pyarrow.lib", "datasets.", 'File "')


@pytest.fixture(autouse=True)
def bounded(tmp_path, monkeypatch):
    """Limit the time of each input and give it its own cache directory."""

    def too_long(*_):
        raise TimeoutError(f"not done within {SECONDS} s")

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data directory with an image, and another image outside of it."""
    inside = tmp_path / "data"
    inside.mkdir()
    for place in (inside / "good.png", tmp_path / "outside.png"):
        place.write_bytes(encoded())
    return inside


def encoded(kind: str = "png", size: tuple[int, int] = (4, 3), mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


def noise(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.frombytes("RGB", (99, 99), random.Random(0).randbytes(3 * 99 * 99)).save(stream, kind)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png(width: int, height: int, pixels: bytes, *chunks: bytes) -> bytes:
    """A PNG with one bit per pixel and any declared size."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    end = chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + end


def blank_png(width: int, height: int) -> bytes:
    """A valid blank PNG, which compresses to a small file."""
    packer = zlib.compressobj(1)
    line = b"\0" * (1 + (width + 7) // 8)
    return png(
        width, height, b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    )


def patched(content: bytes, at: int, form: str, *values: int) -> bytes:
    found = bytearray(content)
    struct.pack_into(form, found, at, *values)
    return bytes(found)


def tiff(width: int, height: int) -> bytes:
    entries = [(256, width), (257, height), (258, 1), (259, 1), (262, 1), (273, 8), (279, 1)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 7) + directory + b"\0" * 4


def animated_webp() -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(stream, "webp", save_all=True, append_images=frames[1:], lossless=True)
    content = stream.getvalue()
    at = content.index(b"VP8X") + 12
    return content[:at] + (16_000).to_bytes(3, "little") * 2 + content[at + 6 :]


def jpeg2000(outer: tuple[int, int] | None, inner: tuple[int, int] | None) -> bytes:
    """An image whose outer box or inner stream declares a false size."""
    content = encoded("jpeg2000", (64, 64))
    if outer:
        content = patched(content, content.index(b"ihdr") + 4, ">II", *outer[::-1])
    if inner:
        content = patched(content, content.index(b"\xff\x4f\xff\x51") + 8, ">II", *inner)
    return content


def icon() -> bytes:
    """An icon that declares 16 x 16 pixels but contains a far larger image."""
    inside = blank_png(13_000, 13_000)
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inside), 22) + inside


BOMBS = {
    "png, large by its header": (lambda: png(2**31 - 1, 2**31 - 1, b""), "pixels"),
    "png, long and thin": (lambda: png(2**31 - 1, 1, b""), "pixels"),
    "png, real": (lambda: blank_png(30_000, 30_000), "pixels"),
    "png, real, just above the limit": (lambda: blank_png(8_000, 8_001), "more than 64,000,000"),
    "png with a text that swells": (
        lambda: png(
            8, 8, zlib.compress(b"\0" * 16), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**28)))
        ),
        "cannot be read",
    ),
    "png with a colour profile that swells": (
        lambda: png(
            8, 8, zlib.compress(b"\0" * 16), chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**28)))
        ),
        "cannot be read",
    ),
    "gif": (lambda: patched(encoded("gif"), 6, "<HH", 65_535, 65_535), "pixels"),
    "bmp": (lambda: patched(encoded("bmp"), 18, "<ii", 2**30, 2**30), "pixels"),
    "tiff": (lambda: tiff(2**31, 2**31), "pixels"),
    "ppm": (lambda: b"P6 60000 60000 255\n" + bytes(100), "pixels"),
    "jpeg": (
        lambda: patched(
            encoded("jpeg"), encoded("jpeg").index(b"\xff\xc0") + 5, ">HH", 65_500, 65_500
        ),
        "pixels",
    ),
    "webp": (animated_webp, "pixels"),
    "jpeg 2000": (lambda: jpeg2000((60_000, 60_000), (60_000, 60_000)), "pixels"),
    "jpeg 2000 with a large stream inside": (lambda: jpeg2000(None, (60_000, 60_000)), "image"),
    "icon with a large picture inside": (icon, "not an image in a supported format"),
    "a file of many bytes": (None, "bytes, more than 256,000,000"),
}

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) (w) file\n"
UNKNOWN = "not an image in a supported format"
PICTURES = {
    "zero bytes": (b"", UNKNOWN),
    "one byte": (b"\x89", UNKNOWN),
    "the first bytes": (encoded()[:8], UNKNOWN),
    "a header alone": (encoded()[:33], UNKNOWN),
    "a few pixels": (noise("png")[:100], "image cannot be"),
    "half the pixels": (noise("png")[:15_000], "image cannot be"),
    "all but the last pixels": (noise("png")[:-100], "image cannot be"),
    "half a jpeg": (noise("jpeg")[:3_000], "image cannot be"),
    "half a webp": (noise("webp")[:1_000], "image"),
    "half a gif": (noise("gif")[:3_000], "image cannot be"),
    "half a tiff": (noise("tiff")[:3_000], "image"),
    "a wrong checksum": (encoded()[:-20] + b"\0" * 20, "image cannot be"),
    "garbage after the magic bytes": (encoded()[:16] + bytes(range(256)), "image"),
    "a text": (b"no picture at all", UNKNOWN),
    "a page that says 404": (b"<!DOCTYPE html><title>404</title>", UNKNOWN),
    "a pointer of git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha", UNKNOWN),
    "svg": (SVG.encode(), UNKNOWN),
    "eps": (EPS.encode(), UNKNOWN),
    "pdf": (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF", UNKNOWN),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), UNKNOWN),
    "avif": (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(64), "image"),
    "no pixels": (png(0, 0, b""), "image"),
}

PATHS = {
    "a missing picture": ("gone.png", "image not found"),
    "a directory": ("folder", "image not found"),
    "the data directory": (".", "image not found"),
    "a fifo": ("fifo.png", "image not found"),
    "a link to nowhere": ("broken.png", "image not found"),
    "a link to itself": ("loop.png", "image"),
    "a device": ("zero.png", "image not found"),
    "a file that refuses": ("memory.png", "is a link that leaves the directory"),
    "a path upwards": ("../outside.png", "leaves the directory"),
    "a path down and upwards": ("folder/../../outside.png", "leaves the directory"),
    "an absolute path": ("/etc/hostname", "leaves the directory"),
    "a url": ("https://example.org/a.png", "is not a path"),
    "a url of a file": ("file:///etc/hostname", "leaves the directory"),
    "a url of a library": ("zip://good.png::a.zip", "is not a path"),
    "a nul": ("good.png\0.txt", "is not a path"),
    "a home": ("~/a.png", "image not found"),
    "a name too long": ("a" * 5_000 + ".png", "cannot be read"),
    "base64 of no picture, without a prefix": ("a" * 5_000, UNKNOWN),
    "base64 of no picture": ("data:image/png;base64," + "iVBO" * 9_000, UNKNOWN),
    "base64 that is cut off": (
        "data:image/png;base64," + "iVBO" * 9_000 + "i",
        "cannot be decoded",
    ),
    "half a letter": ("\ud800.png", "not UTF-8"),
    "spaces": ("  ", "image not found"),
}


def place(folder: Path) -> None:
    """Create the files in `PATHS` that are not images."""
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo.png")
    (folder / "broken.png").symlink_to(folder / "nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "memory.png").symlink_to("/proc/self/mem")


def user(content) -> dict:
    return {"role": "user", "content": content}


TEXT = {"type": "text", "text": "Which?"}
EXPRESSION = "__import__('os').system('touch executed')"
MANY = "expected a text or a conversation"

# Bad values of a row, merged into a good row, with words of the fault.
ROWS: dict[str, tuple[dict | str | bytes, str]] = {
    # The question.
    "no question": ({"prompt": None}, "the question is empty"),
    "an empty question": ({"prompt": ""}, "the question is empty"),
    "a question of spaces": ({"prompt": " \n\t "}, "the question is empty"),
    "a question that is a number": ({"prompt": 7}, MANY),
    "a question that is true": ({"prompt": True}, MANY),
    "a question that is nan": ({"prompt": float("nan")}, MANY),
    "a question that is an object": ({"prompt": {"text": "Why?"}}, MANY),
    "a question that is a list of texts": ({"prompt": ["Why?"]}, MANY),
    "nothing but a placeholder": ({"prompt": "<image>", "image": "good.png"}, "empty question"),
    "a placeholder without a picture": ({"prompt": "<image> Why?"}, "1 <image> for 0 images"),
    "more placeholders than pictures": (
        {"prompt": "<image><image> Why?", "image": "good.png"},
        "2 <image> for 1 images",
    ),
    "fewer placeholders than pictures": (
        {"prompt": "<image> Why?", "images": ["good.png", "good.png"]},
        "1 <image> for 2 images",
    ),
    "half a letter in the question": ({"prompt": "Why \ud83d?"}, "not UTF-8 at character 4"),
    "a nul in the question": ({"prompt": "Why\0?"}, "a NUL at character 3"),
    # Conversations.
    "an empty conversation": ({"prompt": []}, "expected a text or a conversation"),
    "an empty question at the end": (
        {"prompt": [user("Why?"), {"role": "assistant", "content": "So."}, user(" ")]},
        "an empty question",
    ),
    "a message without content": ({"prompt": [user(None)]}, "messages with a role"),
    "a message without a role": ({"prompt": [{"content": "Why?"}]}, "messages with a role"),
    "a role that is a number": ({"prompt": [{"role": 1, "content": "?"}]}, "messages with a role"),
    "content that is a number": ({"prompt": [user(5)]}, "messages with a role"),
    "content that is an object": ({"prompt": [user(TEXT)]}, "messages with a role"),
    "content without parts": ({"prompt": [user([])]}, "empty question"),
    "parts that are texts": ({"prompt": [user(["Why?"])]}, "expected parts"),
    "parts of which one is a text": (
        {"prompt": [user([{"type": "image", "image": 5}, "Why?"])]},
        "is not an image",
    ),
    "a part with a number for a text": (
        {"prompt": [user([{"type": "text", "text": 5}])]},
        "expected parts",
    ),
    "a part of an unknown type": (
        {"prompt": [user([TEXT, {"type": "input_audio", "input_audio": "good.wav"}])]},
        "expected a message with a text",
    ),
    "a part whose type is a list": (
        {"prompt": [user([TEXT, {"type": ["text"]}])]},
        "expected a me",
    ),
    "a picture inside that is missing": (
        {"prompt": [user([TEXT, {"type": "image", "image": "gone.png"}])]},
        "image not found",
    ),
    "a picture inside from outside": (
        {"prompt": [user([TEXT, {"type": "image", "image": "../outside.png"}])]},
        "leaves the directory",
    ),
    "a place for a picture without one": (
        {"prompt": [user([TEXT, {"type": "image"}])]},
        "1 <image> for 0 images",
    ),
    "a picture inside and one in a column": (
        {"prompt": [user([TEXT, {"type": "image", "image": "good.png"}])], "image": "good.png"},
        "keep only one of them",
    ),
    "half a letter inside a conversation": ({"prompt": [user("Why \ud83d?")]}, "not UTF-8"),
    "a placeholder in an earlier message": (
        {"prompt": [user("<image>"), {"role": "assistant", "content": "?"}, user("Why?")]},
        "1 <image> for 0 images",
    ),
    # Pictures.
    "a picture that is a number": ({"image": 7}, "is not an image"),
    "a picture that is true": ({"image": True}, "is not an image"),
    "a picture that is an object": ({"image": {"file": "good.png"}}, "is not an image"),
    "a picture that is an empty object": ({"image": {}}, "is not an image"),
    "a number among pictures": ({"images": ["good.png", 7]}, "is not an image"),
    "nothing among pictures": ({"images": ["good.png", None]}, "is not an image"),
    "a number in a list among pictures": ({"images": [["good.png", 7]]}, "is not an image"),
    "the second of two is missing": (
        {"images": ["good.png", "gone.png"]},
        "image 2 of 2: image not found",
    ),
    "pictures in both columns": (
        {"image": "good.png", "images": ["good.png"]},
        "keep only one of them",
    ),
    "a path outside, given as bytes": (
        {"image": {"bytes": "../outside.png"}},
        "leaves the directory",
    ),
    "bytes inside bytes": ({"image": {"bytes": {"bytes": "good.png"}}}, "is not an image"),
    # The answer.
    "no answer": ({"answer": None}, "the answer is empty"),
    "an empty answer": ({"answer": ""}, "the answer is empty"),
    "an answer of spaces": ({"answer": " \n"}, "the answer is empty"),
    "an answer that is true": ({"answer": True}, "the answer is a bool"),
    "an answer that is a list": ({"answer": ["4", "5"]}, "the answer is a list of 2"),
    "an answer that is an object": ({"answer": {"value": 4}}, "the answer is a dict"),
    "an answer that is nan": ({"answer": float("nan")}, "the answer is nan"),
    "an answer without an end": ({"answer": float("inf")}, "the answer is inf"),
    "an answer with half a brace": ({"answer": "\\frac{1}{2"}, "cannot read the answer"),
    "an answer that closes a brace": ({"answer": "}{"}, "cannot read the answer"),
    "an answer of a brace": ({"answer": "{"}, "cannot read the answer"),
    "a formula that takes for ever": ({"answer": "\\int " * 150}, "cannot read the answer"),
    "a text as an answer": ({"answer": "The angle is half of the arc. " * 9}, "a text of 63 words"),
    "a box without an answer": ({"answer": "So it is \\boxed{}."}, "an empty box"),
    "half a letter in the answer": ({"answer": "\udc00"}, "not UTF-8"),
    "an answer with a nul": ({"answer": "4\0"}, "a NUL at character 1"),
    # Rewrites.
    "rewrites that are a number": ({"new_questions": 3}, "expected a list of texts"),
    "rewrites that are an object": ({"new_questions": {"a": "Why?"}}, "expected a list of texts"),
    "rewrites with a list for a key": ({"new_questions": "{[1]: 2}"}, "expected a list of texts"),
    "rewrites that are a text": ({"new_questions": "Why?"}, "expected a list of texts"),
    "a number among rewrites": ({"new_questions": ["Why?", 3]}, "expected a list of texts"),
    "nothing among rewrites": ({"new_questions": [None]}, "expected a list of texts"),
    "a rewrite that is empty": ({"new_questions": ["Why?", " "]}, "empty question"),
    "a rewrite with a place too many": ({"new_questions": ["<image> Why?"]}, "1 <image> for 0"),
    "a rewrite with a place too few": (
        {"images": ["good.png", "good.png"], "new_questions": ["<image> Why?"]},
        "1 <image> for 2 images",
    ),
    "rewrites that are an expression": ({"new_questions": EXPRESSION}, "expected a list of texts"),
    "a rewrite that is an expression": (
        {"new_questions": f"[{EXPRESSION}]"},
        "expected a list of texts",
    ),
    "rewrites that are an endless list": ({"new_questions": "[" * 100_000}, "expected a list of"),
    "rewrites that are an endless sum": ({"new_questions": "1" + "+1" * 50_000}, "expected a list"),
    "rewrites with endless signs": ({"new_questions": "-" * 50_000 + "1"}, "expected a list of"),
    "rewrites with half a letter": ({"new_questions": ["\ud800?"]}, "not UTF-8"),
    # Transforms.
    "an unknown transform": ({"allowed": ["spin"]}, "no transform 'spin'"),
    "a transform that is a list": ({"allowed": [["rotate_90"]]}, "no transform"),
    "transforms that are a text": ({"allowed": "rotate_90"}, "expected a list of transforms"),
    # Ids and other columns.
    "an id again": ({"id": "g0"}, "repeats the id of row 0"),
    "an id again, of another kind": ({"id": 0}, "where most rows hold a text"),
    "another kind in a column": ({"level": "high"}, "a text, where most rows hold a number"),
    "another kind in a list": (
        {"tags": ["a", 1]},
        "a number in the list, where most rows hold a text",
    ),
    "another kind in an object": ({"about": {"page": "one"}}, "a text in 'page', where most rows"),
    "a number too large": ({"level": 10**30}, "a number of more than 64 bits"),
    "half a letter in a list": ({"tags": ["\ud800"]}, "not UTF-8"),
    "half a letter in a name": ({"about": {"\ud800": 1}}, "not UTF-8"),
    "lists inside lists": ("deep", "nested more than 50 deep"),
    "objects inside objects": ("deep objects", "nested more than 50 deep"),
    # Lines that are not rows.
    "a list for a row": ("[1, 2]", "expected an object"),
    "a text for a row": ('"Why?"', "expected an object"),
    "a number for a row": ("7", "expected an object"),
    "nothing for a row": ("null", "expected an object"),
    "half a row": ('{"prompt": "Why?", "ans', "not valid JSON"),
    "two rows in a line": ('{"prompt": "Why?"} {"prompt": "Why?"}', "not valid JSON: Extra data"),
    "a name twice": (
        '{"prompt": "Why?", "prompt": "How?"}',
        "key 'prompt' occurs more than once",
    ),
    "single quotes": ("{'prompt': 'Why?'}", "not valid JSON"),
    "bytes that are no text": (b'{"prompt": "Why\xff?", "answer": "1"}', "not UTF-8 at byte 15"),
    "a nul in a line": (b'{"prompt": "Why\x00?", "answer": "1"}', "not valid JSON"),
    "brackets without an end": ("[" * 100_000, "not valid JSON"),
    "a number of many digits": ('{"level": ' + "9" * 5_000 + "}", "not valid JSON"),
}
ROWS |= {f"picture: {name}": ({"image": path}, words) for name, (path, words) in PATHS.items()}
DEEP = {"deep": ("[", "]"), "deep objects": ('{"a":', "}")}
COLUMNS = {"level": 1, "tags": ["a"], "about": {"page": 1}, "new_questions": None, "allowed": None}
ALLOWED = Variants(prompts=2, transforms=Transforms(allowed="allowed"))


def line_of(row: dict | str | bytes) -> bytes:
    if isinstance(row, bytes):
        return row
    if isinstance(row, str):
        if row in DEEP:
            start, end = DEEP[row]
            inside = start * 400 + "1" + end * 400
            row = '{"id": "bad", "prompt": "Why?", "answer": "1", "level": ' + inside + "}"
        return row.encode()
    return json.dumps({"id": "bad", "prompt": "Why?", "answer": "1", **row}).encode()


def good(number: int) -> dict:
    asked = {"id": f"g{number}", "prompt": "<image> Which?", "answer": "4", "image": "good.png"}
    return {**asked, "images": None, **COLUMNS}


def between(folder: Path, row: dict | str | bytes) -> Path:
    """A JSON Lines file with a bad row between two good ones."""
    lines = [line_of(good(0)), line_of(row), line_of(good(2))]
    (folder / "rows.jsonl").write_bytes(b"\n".join(lines))
    return folder / "rows.jsonl"


def refused(source, words: str, **options) -> str:
    """The error message of a bad source, which must not expose internals of a library."""
    with pytest.raises(VantageError) as caught:
        load(str(source), **{"split": "train", "graded_by": accuracy, **options})
    told = str(caught.value)
    assert words in told
    assert not any(library in told for library in LIBRARIES), told
    assert len(told) < 2_000, "a message that fits a screen"
    told.encode("utf-8")
    return told


def check_row(path: Path, words: str, **options) -> set[str]:
    """Check that a bad row 1 of three raises an error, or is skipped and written to the rejects.

    Returns:
        Columns named by the faults.
    """
    assert "row 1" in refused(path, words, **options)
    rejects = path.parent / "rejects.jsonl"
    given = {"split": "train", "graded_by": accuracy, "rejects": rejects, **options}
    rows = load(str(path), on_bad_row="skip", **given)
    assert rows["id"][:] == ["g0", "g2"]
    assert [len(read(row).images) for row in rows] == [1, 1]
    faults = [json.loads(line) for line in rejects.read_text(encoding="utf-8").splitlines()]
    assert {fault["row"] for fault in faults} == {1}
    assert any(words in fault["reason"] for fault in faults)
    return {fault["column"] for fault in faults}


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_is_reported_and_can_be_skipped(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    place(folder)
    row, words = ROWS[name]
    blamed = check_row(between(folder, row), words, variants=ALLOWED)
    assert blamed == {"image"} or not name.startswith("picture: ")
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("name", PICTURES)
def test_a_bad_image_is_reported_and_can_be_skipped(name, folder, monkeypatch):
    def started(*command, **_):
        raise AssertionError(f"{command} was started")

    monkeypatch.setattr(subprocess, "Popen", started)  # as PIL starts Ghostscript
    content, words = PICTURES[name]
    (folder / "bad.png").write_bytes(content)
    assert check_row(between(folder, {"image": "bad.png"}), words) == {"image"}


BOMBED = """
import json, resource, sys
from pathlib import Path
from vantage.questions.loading import load
from vantage.rewards.accuracy import accuracy

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

load(sys.argv[1], split="train", graded_by=accuracy)
before = peak()
rows = load(sys.argv[2], split="train", on_bad_row="skip", rejects=Path(sys.argv[3]))
print(json.dumps({"good": rows["id"][:], "more": peak() - before}))
"""


def test_decompression_bombs_are_rejected_in_bounded_memory(folder):
    names = list(BOMBS)
    for number, (make, _) in enumerate(BOMBS.values()):
        with (folder / f"{number}.png").open("wb") as file:
            if make is None:
                file.truncate(2**34)  # a sparse file, which takes no disk space
            else:
                file.write(make())
    (folder / "good.jsonl").write_bytes(line_of(good(0)))
    bad = [{**good(0), "id": name, "image": f"{n}.png"} for n, name in enumerate(names)]
    clear = png(8_000, 8_000, zlib.compress(bytes(8_000 * 1_001)), chunk(b"tRNS", b"\0\0"))
    (folder / "largest.png").write_bytes(clear)
    lines = [good(0), *bad, {**good(2), "image": "largest.png"}]
    (folder / "bad.jsonl").write_bytes(b"\n".join(map(line_of, lines)))
    rejects = folder / "rejects.jsonl"
    files = [str(folder / "good.jsonl"), str(folder / "bad.jsonl"), str(rejects)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BOMBED, *files],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["good"] == ["g0", "g2"]
    assert found["more"] < MEGABYTES
    faults = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [fault["row"] for fault in faults] == list(range(1, len(names) + 1))
    for name, fault in zip(names, faults, strict=True):
        assert BOMBS[name][1] in fault["reason"], name


# Columns of parquet files whose second row is bad; None removes a column.
OUTSIDE = {"bytes": None, "path": "../outside.png"}
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
INSIDE = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.list_(pa.struct([("type", pa.string()), ("image", STRUCT)]))),
        ]
    )
)


def broken(texts: list[bytes], kind: pa.DataType | None = None) -> pa.Array:
    """Texts of which some are not valid UTF-8, as a faulty writer produces them."""
    return pa.array(texts, pa.binary()).view(kind or pa.string())


def asked_with(image: dict | None) -> list[dict]:
    parts = [{"type": "image", "image": image}, {"type": "text", "text": "Which?"}]
    return [user(parts)]


def asked_in_arrow(image) -> pa.ChunkedArray:
    """Three conversations in Arrow, the second with the given image."""
    part = {"type": Value("string"), "text": Value("string"), "image": Stored()}
    message = {"role": Value("string"), "content": List(part)}
    prompts = [asked_with(stored()), asked_with(image), asked_with(stored())]
    features = Features({"prompt": List(message)})
    return Dataset.from_dict({"prompt": prompts}, features).data.column("prompt")


TABLES = {
    "a question that is no text": (
        lambda: {"prompt": broken([b"<image>0?", b"\xff\xfe", b"<image>2?"])},
        "cannot be read",
    ),
    "an answer that is no text": (
        lambda: {"answer": broken([b"4", b"\xc3(", b"4"])},
        "cannot be read",
    ),
    "another column that is no text": (
        lambda: {"hint": broken([b"a", b"\xf0\x28", b"c"])},
        "cannot be read",
    ),
    "a picture of zero bytes": (lambda: {"image": [encoded(), b"", encoded()]}, "is not an image"),
    "a picture of garbage": (lambda: {"image": [encoded(), b"\0" * 99, encoded()]}, UNKNOWN),
    "a picture that swells": (
        lambda: {"image": [encoded(), png(2**31 - 1, 2**31 - 1, b""), encoded()]},
        "pixels",
    ),
    "eps in a picture": (lambda: {"image": [encoded(), EPS.encode(), encoded()]}, UNKNOWN),
    "a struct with nothing in it": (
        lambda: {"image": [stored(), {"bytes": None, "path": None}, stored()]},
        "is not an image",
    ),
    "a struct with a path outside": (
        lambda: {"image": [stored(), OUTSIDE, stored()]},
        "leaves the directory",
    ),
    "an image that is garbage": (
        lambda: {
            "image": Dataset.from_dict(
                {"image": [stored(), {"bytes": b"garbage", "path": None}, stored()]},
                Features({"image": Stored()}),
            ).data.column("image")
        },
        UNKNOWN,
    ),
    "garbage among images": (
        lambda: {
            "image": None,
            "images": [[stored()], [{"bytes": b"?", "path": None}], [stored()]],
        },
        UNKNOWN,
    ),
    "numbers for pictures": (
        lambda: {"image": None, "images": pa.array([[], [5], []], pa.list_(pa.int64()))},
        "is not an image",
    ),
    "an answer of bytes": (
        lambda: {"answer": pa.array([b"4", b"4", b"4"], pa.binary())},
        "the answer is a bytes",
    ),
    "a question of bytes": (
        lambda: {"prompt": pa.array([b"4", b"4", b"4"], pa.binary())},
        "expected a text or a conversation",
    ),
    "a conversation with eps inside": (
        lambda: {
            "image": None,
            "prompt": [
                asked_with(stored()),
                asked_with({"bytes": EPS.encode(), "path": None}),
                asked_with(stored()),
            ],
        },
        UNKNOWN,
    ),
    "an image inside a conversation with a url": (
        lambda: {
            "image": None,
            "prompt": asked_in_arrow({"bytes": None, "path": "https://example.org/a.png"}),
        },
        "is not a path",
    ),
    "an image inside a conversation that is eps": (
        lambda: {
            "image": None,
            "prompt": asked_in_arrow({"bytes": EPS.encode(), "path": None}),
        },
        UNKNOWN,
    ),
    "a rewrite that is no text": (
        lambda: {"new_questions": pa.array([["a?"], [None], ["b?"]])},
        "expected a list of texts",
    ),
    "an id again": (lambda: {"id": ["g0", "g0", "g2"]}, "repeats the id of row 0"),
}


def stored() -> dict:
    return {"bytes": encoded(), "path": None}


@pytest.mark.parametrize("name", TABLES)
def test_a_bad_parquet_row_is_reported_and_can_be_skipped(name, folder, monkeypatch):
    def started(*command, **_):
        raise AssertionError(f"{command} was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    make, words = TABLES[name]
    table = {
        "id": ["g0", "bad", "g2"],
        "prompt": ["0?", "1?", "2?"],
        "answer": ["4"] * 3,
        "image": [stored()] * 3,
    }
    columns = {name: value for name, value in {**table, **make()}.items() if value is not None}
    values = [
        v if isinstance(v, pa.Array | pa.ChunkedArray) else pa.array(v) for v in columns.values()
    ]
    pq.write_table(pa.table(dict(zip(columns, values, strict=True))), folder / "rows.parquet")
    if name in ("numbers for pictures", "an answer that is a decimal"):
        assert "row 1" in refused(folder / "rows.parquet", words)
    elif "of bytes" in name:
        assert "3 rows cannot be used" in refused(folder / "rows.parquet", words)
    else:
        check_row(folder / "rows.parquet", words)


LINE = '{"prompt": "Why?", "answer": "1"}\n'
CSV = "prompt,answer\nWhy?,1\n"
SCRIPT = """
import pathlib
pathlib.Path({path!r}).touch()
import datasets
class Mine(datasets.GeneratorBasedBuilder):
    def _info(self): return datasets.DatasetInfo()
"""


class Harm:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def as_parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def parquet_of(rows: int = 200) -> bytes:
    asked = [f"{row}?" for row in range(rows)]
    return as_parquet(pa.table({"prompt": pa.array(asked, pa.string()), "answer": asked}))


def packed(folder: Path) -> bytes:
    stream, content = io.BytesIO(), pickle.dumps(Harm(folder / "executed"))
    with tarfile.open(fileobj=stream, mode="w") as file:
        for ending in ("pkl", "pyd", "pickle", "pth", "npy"):
            about = tarfile.TarInfo(f"a.{ending}")
            about.size = len(content)
            file.addfile(about, io.BytesIO(content))
    return stream.getvalue()


def saved(folder: Path, **files: str) -> dict[str, bytes]:
    """A saved data set with some of its files replaced."""
    Dataset.from_dict({"prompt": ["Why?"], "answer": ["1"]}).save_to_disk(str(folder / "saved"))
    for name, content in files.items():
        (folder / "saved" / f"{name}.json").write_text(content)
    return {}


# Sources: files with their content, the path to load, and words of the message.
SOURCES = {
    "no file": ({}, "gone.parquet", "no such file"),
    "no directory": ({}, "gone", "cannot be read as a data set"),
    "a name with a nul": ({}, "rows\0.parquet", "no such file"),
    "a name too long": ({}, "a" * 5_000 + ".csv", "File name too long"),
    "a url": ({}, "https://example.org/rows.parquet", "no such file"),
    "a directory with the name of a file": ({"rows.csv/a": b""}, "rows.csv", "no such file"),
    "an empty directory": ({"empty/.keep": b""}, "empty", "cannot be read as a data set"),
    "a script": ({"rows.py": b"raise SystemExit"}, "rows.py", "expected a file ending in"),
    "a file of numpy": ({"rows.npz": b"PK\3\4"}, "rows.npz", "expected a file ending in"),
    "a text": ({"rows.txt": b"Why?"}, "rows.txt", "expected a file ending in"),
    "packed lines": ({"rows.jsonl.gz": b"\x1f\x8b"}, "rows.jsonl.gz", "expected a file ending in"),
    "an empty parquet": ({"rows.parquet": b""}, "rows.parquet", "cannot be read as a data set"),
    "an empty json": ({"rows.json": b""}, "rows.json", "not valid JSON"),
    "empty lines": ({"rows.jsonl": b"\n\n"}, "rows.jsonl", "has no rows"),
    "an empty csv": ({"rows.csv": b""}, "rows.csv", "has no rows"),
    "a csv with a header alone": ({"rows.csv": b"prompt,answer\n"}, "rows.csv", "has no rows"),
    "an empty list": ({"rows.json": b"[]"}, "rows.json", "has no rows"),
    "a parquet without rows": ({"rows.parquet": parquet_of(0)}, "rows.parquet", "has no rows"),
    "json without a list": ({"rows.json": b'{"a": 1}'}, "rows.json", "expected a list of rows"),
    "json of a number": ({"rows.json": b"7"}, "rows.json", "expected a list of rows"),
    "json of columns": (
        {"rows.json": b'{"prompt": ["Why?"]}'},
        "rows.json",
        "no column for the answer",
    ),
    "half a json": ({"rows.json": b'[{"prompt": "Why?"}, {"pro'}, "rows.json", "not valid JSON"),
    "lines in a json": ({"rows.json": 2 * LINE.encode()}, "rows.json", "Extra data"),
    "brackets without an end": ({"rows.json": b"[" * 100_000}, "rows.json", "not valid JSON"),
    "lines of garbage": ({"rows.jsonl": bytes(range(128, 256)) * 9}, "rows.jsonl", "not UTF-8"),
    "lines of scalars": ({"rows.jsonl": b"1\n2\n"}, "rows.jsonl", "expected an object"),
    "lines in utf-16": ({"rows.jsonl": LINE.encode("utf-16")}, "rows.jsonl", "is UTF-16"),
    "json in utf-16": ({"rows.json": f"[{LINE}]".encode("utf-16")}, "rows.json", "is UTF-16"),
    "csv in utf-16": ({"rows.csv": CSV.encode("utf-16")}, "rows.csv", "is UTF-16"),
    "json in latin": ({"rows.json": b'[{"prompt": "\xfcber?"}]'}, "rows.json", "not UTF-8"),
    "a csv without a header": (
        {"rows.csv": b"Why?,1\nHow?,2\n"},
        "rows.csv",
        "no column for the question",
    ),
    "a csv with a header twice": (
        {"rows.csv": b"prompt,answer,prompt\nWhy?,1,How?\n"},
        "rows.csv",
        "2 columns are named 'prompt'",
    ),
    "a csv whose header is no text": (
        {"rows.csv": b"prompt,answer,\xff\nWhy?,1,2\n"},
        "rows.csv",
        "is not printable UTF-8",
    ),
    "a csv with an open quote": (
        {"rows.csv": CSV.encode() + b'"How?,2\nWhat?,3\n'},
        "rows.csv",
        "line 4 is not valid CSV",
    ),
    "a csv with text behind a quote": (
        {"rows.csv": b'prompt,answer\n"How"?,2\n'},
        "rows.csv",
        "line 2 is not valid CSV",
    ),
    "a page in a csv": ({"rows.csv": b"<!DOCTYPE html>\n<p>404</p>\n"}, "rows.csv", "no column"),
    "numbers that no column can hold": (
        {
            "rows.jsonl": "".join(
                json.dumps({"prompt": "Why?", "answer": "1", "level": level}) + "\n"
                for level in (0.5, 2**60 + 1)
            ).encode()
        },
        "rows.jsonl",
        "column 'level' cannot be stored",
    ),
    "a parquet with a column twice": (None, "rows.parquet", "cannot be read as a data set"),
    "a parquet that lies about its features": (None, "rows.parquet", "cannot be read as a data"),
    "an empty table of pictures": ({"d/metadata.csv": b"", "d/a.png": b""}, "d", "has no rows"),
    "garbage shards": ({"d/train-0.parquet": b"PAR1garbage"}, "d", "cannot be read as a data set"),
    "shards of lines that are none": (
        {"d/train.jsonl": b'{"a": '},
        "d",
        "cannot be read as a data",
    ),
    "a description that is no yaml": (
        {"d/README.md": b"---\na: [\n---\n", "d/train.jsonl": LINE.encode()},
        "d",
        "cannot be read as a data set",
    ),
    "a directory with a script": (None, "script", "cannot be read as a data set"),
    "a directory with a pickle": (None, "pickled", "cannot be read as a data set"),
    "a directory with a tape of pickles": (None, "tape", "cannot be read as a data set"),
    "a saved data set without a state": (None, "saved", "cannot be read as a data set"),
    "a saved data set with half a state": (None, "saved", "cannot be read as a data set"),
    "a saved data set with an empty state": (None, "saved", "cannot be read as a data set"),
    "a fifo": (None, "fifo.jsonl", "is a FIFO, expected a file"),
    "a link to itself": (None, "loop.jsonl", "no such file"),
    "a file that refuses": (None, "memory.jsonl", "cannot be read"),
}
SOURCES |= {
    f"the first {part} of a parquet": (
        {"rows.parquet": parquet_of()[: int(len(parquet_of()) * share)]},
        "rows.parquet",
        "cannot be read as a data set",
    )
    for part, share in (("bytes", 0.002), ("tenth", 0.1), ("half", 0.5), ("99 %", 0.99))
}
SPECIAL = {
    "a parquet with a column twice": lambda folder: {
        "rows.parquet": as_parquet(pa.table([pa.array(["a"])] * 3, ["prompt", "answer", "prompt"]))
    },
    "a parquet that lies about its features": lambda folder: {
        "rows.parquet": as_parquet(
            pa.table({"prompt": ["a"], "answer": ["b"]}, metadata={"huggingface": "garbage"})
        )
    },
    "a directory with a script": lambda folder: {
        "script/script.py": SCRIPT.format(path=str(folder / "executed")).encode()
    },
    "a directory with a pickle": lambda folder: {
        "pickled/train.pkl": pickle.dumps(Harm(folder / "executed"))
    },
    "a directory with a tape of pickles": lambda folder: {"tape/train.tar": packed(folder)},
    "a saved data set without a state": lambda folder: saved(folder, state=""),
    "a saved data set with half a state": lambda folder: saved(folder, state='{"_data_fi'),
    "a saved data set with an empty state": lambda folder: saved(folder, state="{}"),
    "a fifo": lambda folder: os.mkfifo(folder / "fifo.jsonl") or {},
    "a link to itself": lambda folder: (folder / "loop.jsonl").symlink_to("loop.jsonl") or {},
    "a file that refuses": lambda f: (f / "memory.jsonl").symlink_to("/proc/self/mem") or {},
}


@pytest.mark.parametrize("mode", ["error", "skip"])
@pytest.mark.parametrize("name", SOURCES)
def test_an_invalid_source_is_rejected(name, mode, folder, monkeypatch):
    monkeypatch.chdir(folder)
    files, source, words = SOURCES[name]
    for path, content in (SPECIAL[name](folder) if files is None else files).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    refused(folder / source, words, on_bad_row=mode)
    assert not (folder / "executed").exists()


OPTIONS = {
    "an unknown layout": ({"layout": "easy"}, "layout='easy': did you mean 'easyr1'"),
    "a layout that does not fit": ({"layout": "mmk12"}, "no column 'question' for the question"),
    "an unknown column": ({"columns": Columns(image="photo")}, "no column 'photo' for the image"),
    "no question at all": ({"columns": Columns(question=None)}, "every row needs a question"),
    "unknown rewrites": ({"variants": Variants(prompts=2, rewrites="other")}, "no column 'other'"),
    "unknown transforms": (
        {"variants": Variants(prompts=2, transforms=Transforms(allowed="other"))},
        "no column 'other'",
    ),
    "a directory that is not there": ({"image_root": "/nowhere"}, "no such directory"),
    "numbers for pictures": ({"columns": Columns(image="level")}, "is not an image"),
    "numbers for questions": ({"columns": Columns(question="level")}, "expected a text or"),
    "rejects that cannot be written": (
        {"on_bad_row": "skip", "rejects": Path("/dev/null/rejects.jsonl")},
        "cannot be written",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_invalid_option_is_rejected(name, folder):
    options, words = OPTIONS[name]
    refused(between(folder, {"prompt": ""}), words, **options)


CSV_ROWS = {
    "too few values": (b"bad,Why?", "2 values for 4 columns"),
    "too many values": (b"bad,Why?,1,,", "5 values for 4 columns"),
    "bytes that are no text": (b"bad,Wh\xff?,1,", "not UTF-8 at character 2"),
    "a nul": (b"bad,Why\0?,1,", "a NUL at character 3"),
    "no answer": (b"bad,Why?,,", "the answer is empty"),
    "no question": (b"bad,,1,", "the question is empty"),
    "a missing picture": (b"bad,Why?,1,gone.png", "image not found"),
}


@pytest.mark.parametrize("name", CSV_ROWS)
def test_a_bad_csv_row_is_reported_and_can_be_skipped(name, folder):
    row, words = CSV_ROWS[name]
    lines = [b"id,prompt,answer,image", b"g0,0?,4,good.png", row, b"g2,2?,4,good.png"]
    (folder / "rows.csv").write_bytes(b"\n".join(lines))
    check_row(folder / "rows.csv", words)


HARMLESS = {
    "an animation gives its first picture": {"image": "animated.gif"},
    "a question of ten megabytes": {"prompt": "Why? " * 2_000_000},
    "a tower of powers": {"answer": "9^{9^{9^{9^{9}}}}"},
    "a box around a tower of powers": {"answer": "\\boxed{9^{9^{9^{9^{9}}}}}"},
    "nested fractions": {"answer": "\\frac{1}{" * 200 + "1" + "}" * 200},
    "an answer of many digits": {"answer": 10**400},
    "a large number": {"answer": 1e300},
    "a path that comes back": {"image": "folder/../good.png"},
    "a rewrite in Python's words": {"new_questions": "['Why is it?', \"What's it?\"]"},
    "no rewrites": {"new_questions": []},
    "no transforms": {"allowed": []},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_unusual_but_valid_rows_are_accepted(name, folder):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    rows = load(
        str(between(folder, HARMLESS[name])), split="train", graded_by=accuracy, variants=ALLOWED
    )
    assert rows["id"][:] == ["g0", "bad", "g2"]
    images = read(rows[1]).images
    assert [image.open().getpixel((0, 0)) for image in images] in ([], [(0, 0, 0)], [(255, 0, 0)])
