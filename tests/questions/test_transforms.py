"""The note in a prompt describes the transform of its image exactly."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vantage.questions.transforms import PUBLISHED, TRANSFORMS, Applied

# An image without any symmetry, 2 rows of 3 pixels.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 9, 9], [80, 0, 0], [0, 0, 7]]])
PICTURE = Image.fromarray(CORNERS.astype(np.uint8))

# Inverses of the transforms that notes describe, on arrays.
UNDOING = {
    "by 90 degrees clockwise": lambda a: a.swapaxes(0, 1)[::-1],
    "by 90 degrees counter-clockwise": lambda a: a.swapaxes(0, 1)[:, ::-1],
    "by 180 degrees": lambda a: a[::-1, ::-1],
    "left to right and top to bottom": lambda a: a[::-1, ::-1],
    "left to right": lambda a: a[:, ::-1],
    "top to bottom": lambda a: a[::-1],
}
EXACT = [name for name, transform in TRANSFORMS.items() if transform.turn is not None]
NOISE = {"noise-10": 10, "noise-25": 25, "noise-50": 50}


def apply(name: str, image: Image.Image = PICTURE, seed: int = 0) -> np.ndarray:
    return np.asarray(Applied(name, NOISE.get(name, 0.0), seed)(image))


def undo(note: str, array: np.ndarray) -> np.ndarray:
    """Undo the transform in a note, which must describe exactly one."""
    said = re.findall("|".join(rf"{way}\b" for way in UNDOING), note)
    assert len(said) == 1, note
    return UNDOING[said[0]](array)


@pytest.mark.parametrize("name", EXACT)
def test_undoing_any_note_restores_the_original_exactly(name):
    notes = TRANSFORMS[name].wordings()
    assert len(set(notes)) >= 3
    assert not np.array_equal(apply(name), np.asarray(PICTURE))
    for note in notes:
        assert np.array_equal(undo(note, apply(name)), np.asarray(PICTURE))


@given(st.sampled_from(EXACT), st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_undoing_works_for_any_aspect_ratio(name, height, width, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    changed = apply(name, Image.fromarray(noise))
    assert np.array_equal(undo(TRANSFORMS[name].wordings()[0], changed), noise)


@pytest.mark.parametrize(("name", "sigma"), NOISE.items())
def test_noise_has_the_standard_deviation_of_its_note(name, sigma):
    grey = Image.new("RGB", (200, 200), (128,) * 3)
    noise = apply(name, grey).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.5)
    assert noise.std() == pytest.approx(sigma, rel=0.03)
    assert TRANSFORMS[name].sigma == sigma
    for note in TRANSFORMS[name].wordings():
        assert f"standard deviation {sigma} " in note.replace("(of 255)", "of 255")


@pytest.mark.parametrize("name", TRANSFORMS)
def test_notes_use_singular_or_plural_and_fill_every_slot(name):
    for images, subject in ((1, "The image is"), (3, "All images are")):
        for note in TRANSFORMS[name].wordings(images, sigma=3.14159):
            assert subject in note
            assert "{" not in note
    assert ("3.14" in TRANSFORMS[name].wordings(1, 3.14159)[0]) == (name in NOISE)


def test_noise_stays_within_the_range_of_pixel_values():
    black = apply("noise-50", Image.new("RGB", (9, 9)))
    assert black.dtype == np.uint8
    assert (black == 0).mean() == pytest.approx(0.5, abs=0.15)
    assert apply("noise-50", Image.new("L", (9, 9))).shape == (9, 9, 3)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_deterministic_and_does_not_modify_its_input(name):
    before = PICTURE.tobytes()
    assert np.array_equal(apply(name, seed=3), apply(name, seed=3))
    assert PICTURE.tobytes() == before
    if name in NOISE:
        assert not np.array_equal(apply(name, seed=3), apply(name, seed=4))


def test_the_code_has_nine_transforms_and_the_paper_six_without_flips():
    assert len(TRANSFORMS) == 9
    flips = {"mirror", "flip", "mirror-and-flip"}
    assert set(TRANSFORMS) - set(PUBLISHED) == flips
    assert all(TRANSFORMS[name].kind in ("turn", "noise") for name in PUBLISHED)
    # Both flips together equal a rotation by 180 degrees, so they are a turn and not a mirror.
    assert [TRANSFORMS[name].kind for name in sorted(flips)] == ["mirror", "mirror", "turn"]
