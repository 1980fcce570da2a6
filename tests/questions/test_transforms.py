"""What a prompt says about its image is what was done to it."""

import numpy as np
import pytest
from PIL import Image

from vantage.questions.transforms import TRANSFORMS

# A picture without any symmetry, 2 rows of 3.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 9, 9], [80, 0, 0], [0, 0, 7]]])
PICTURE = Image.fromarray(CORNERS.astype(np.uint8))


def apply(name: str, image: Image.Image = PICTURE, seed: int = 0) -> np.ndarray:
    return np.asarray(TRANSFORMS[name].apply(image, np.random.default_rng(seed)))


# Turning an array by hand: rows become columns, and one of the two is read backwards.
TURNS = {
    "clockwise": (lambda a: a.swapaxes(0, 1)[:, ::-1], "turned 90 degrees clockwise"),
    "counter-clockwise": (lambda a: a.swapaxes(0, 1)[::-1], "90 degrees counter-clockwise"),
    "upside-down": (lambda a: a[::-1, ::-1], "upside down (180 degrees)"),
}
UNDO = {
    "clockwise": "counter-clockwise",
    "counter-clockwise": "clockwise",
    "upside-down": "upside-down",
}


@pytest.mark.parametrize("name", TURNS)
def test_a_turn_does_what_its_note_says(name):
    turned, words = TURNS[name]
    assert np.array_equal(apply(name), turned(np.asarray(PICTURE)))
    assert words in TRANSFORMS[name].note
    assert "turn it back" in TRANSFORMS[name].note


@pytest.mark.parametrize("name", TURNS)
def test_undoing_a_turn_gives_the_original_exactly(name):
    back = apply(UNDO[name], Image.fromarray(apply(name)))
    assert np.array_equal(back, np.asarray(PICTURE))


@pytest.mark.parametrize("sigma", [10, 25, 50])
def test_noise_has_the_strength_of_its_name_and_says_that_it_is_there(sigma):
    grey = Image.new("RGB", (200, 200), (128,) * 3)
    noise = apply(f"noise-{sigma}", grey).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.5)
    assert noise.std() == pytest.approx(sigma, rel=0.03)
    assert "Noise was added" in TRANSFORMS[f"noise-{sigma}"].note


def test_noise_stays_within_the_range_of_colours():
    assert set(np.unique(apply("noise-50", Image.new("RGB", (9, 9))))) <= set(range(256))
    assert apply("noise-50", Image.new("L", (9, 9))).shape == (9, 9, 3)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_follows_from_its_seed_and_leaves_the_original_alone(name):
    before = PICTURE.tobytes()
    assert np.array_equal(apply(name, seed=3), apply(name, seed=3))
    assert PICTURE.tobytes() == before
    if name.startswith("noise"):
        assert not np.array_equal(apply(name, seed=3), apply(name, seed=4))
