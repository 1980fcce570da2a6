"""Image sizes in pixels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vantage.questions.pixels import fit


@pytest.mark.parametrize(
    ("size", "least", "most", "expected"),
    [
        ((100, 50), None, None, (100, 50)),
        ((100, 50), 5_000, 5_000, (100, 50)),
        ((100, 50), 20_000, None, (200, 100)),
        ((100, 50), None, 1_250, (50, 25)),
        ((100, 50), None, 1_249, (49, 24)),
        ((1_000, 1), None, 10, (100, 1)),
    ],
    ids=str,
)
def test_fit_scales_to_the_bounds_and_keeps_the_aspect_ratio(size, least, most, expected):
    assert fit(Image.new("RGB", size), least, most).size == expected


@given(st.integers(2, 300), st.integers(2, 300), st.integers(50, 5_000))
def test_bounds_hold_for_any_aspect_ratio_except_extreme_ones(width, height, bound):
    image = Image.new("L", (width, height))
    assert (grown := fit(image, bound, None)).width * grown.height >= bound
    shrunk = fit(image, None, bound)
    assert min(shrunk.size) == 1 or shrunk.width * shrunk.height <= bound
