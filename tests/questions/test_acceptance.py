"""Image sizes that a processor rejects are detected before a run."""

import pytest
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vantage.errors import InputError
from vantage.questions.acceptance import Acceptance, acceptance
from vantage.questions.pixels import Bounds, fit


def qwens(image: Image.Image) -> None:
    """Accept images as Qwen's processors do: with an aspect ratio of at most 200."""
    Qwen2VLImageProcessorPil()(images=[image], return_tensors="np")


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        ((1, 1), True),
        ((3, 20), True),
        ((1, 150), True),
        ((5600, 28), True),
        ((5628, 28), False),
        ((1000, 4), False),
        ((4, 1000), False),
        ((9, 2048), False),
    ],
)
def test_check_rejects_the_sizes_that_the_processor_rejects(size, taken):
    takes = Acceptance(qwens)
    if taken:
        return takes.check(*size)
    with pytest.raises(InputError, match=f"{size[0]} x {size[1]} pixels, which the model's proc.*"):
        takes.check(*size)


def test_only_unusual_sizes_are_tried_and_each_only_once():
    tried = []
    takes = Acceptance(lambda image: tried.append(image.size))
    for size in [(300, 200), (2000, 10), (2000, 10), (20, 20)]:
        takes.check(*size)
    assert tried == [(2000, 10), (20, 20)]


def test_bounds_are_applied_before_a_size_is_tried():
    tried = []
    bounds = Bounds(least=None, most=10_000)
    Acceptance(lambda image: tried.append(image.size), bounds).check(4000, 100)
    assert tried == [fit(Image.new("RGB", (4000, 100)), None, 10_000).size] == [(632, 15)]


def test_a_processor_that_rejects_every_image_is_not_blamed_on_size():
    def fails(image):
        raise ValueError("broken")

    Acceptance(fails).check(1000, 4)
    assert acceptance(object()) is None
