"""Image transforms that keep the answer, each with a note that describes it to the model.

These are the online transforms of Share-GRPO, https://arxiv.org/abs/2505.16673: the rotations and
noise of the paper, and the three flips of its code. `vantage.questions.orientation` detects
transforms that could change an answer; the published code does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

# Faded noise with a lower sigma, in grey levels of 255, is too weak to apply.
FAINTEST = 0.5


@dataclass(frozen=True)
class Transform:
    """An image transform.

    Attributes:
        notes: Wordings of the note in the prompt; {it} becomes "The image is" and {sigma} the
            standard deviation of the noise.
        kind: "turn", "mirror" or "noise".
        turn: The rotation or flip, which is lossless; None for noise.
        sigma: Standard deviation of the Gaussian noise, in grey levels of 255.
    """

    notes: tuple[str, ...]
    kind: str
    turn: Image.Transpose | None = None
    sigma: float = 0.0

    def wordings(self, images: int = 1, sigma: float | None = None) -> list[str]:
        """The notes for a number of images, with `sigma` instead of the default if given."""
        it = "The image is" if images == 1 else "All images are"
        strength = f"{self.sigma if sigma is None else sigma:.3g}"
        return [note.format(it=it, sigma=strength) for note in self.notes]


@dataclass(frozen=True)
class Applied:
    """A transform as a deterministic processing step of an image.

    Attributes:
        name: One of `TRANSFORMS`.
        sigma: Standard deviation of the noise, in grey levels of 255.
        seed: Seed of the noise.
    """

    name: str
    sigma: float = 0.0
    seed: int = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        """Transform the image."""
        turn = TRANSFORMS[self.name].turn
        return noisy(image, self.sigma, self.seed) if turn is None else image.transpose(turn)


def noisy(image: Image.Image, sigma: float, seed: int) -> Image.Image:
    """Add Gaussian noise to every channel, then round and clip to 0..255."""
    level_HWC = np.asarray(image.convert("RGB"), dtype=np.float32)
    noise_HWC = np.random.default_rng(seed).standard_normal(level_HWC.shape, dtype=np.float32)
    noisy_HWC = np.rint(level_HWC + np.float32(sigma) * noise_HWC)
    return Image.fromarray(noisy_HWC.clip(0, 255).astype(np.uint8))


def _turned(turn: Image.Transpose, words: str) -> Transform:
    notes = (
        f"{{it}} turned {words}; turn it back in your mind before you answer.",
        f"{{it}} shown rotated {words}. Undo the rotation, then answer.",
        f"Note: {{it}} rotated {words}. The question is about the upright view.",
    )
    return Transform(notes, "turn", turn)


def _mirrored(turn: Image.Transpose, words: str, kind: str = "mirror") -> Transform:
    notes = (
        f"{{it}} mirrored {words}; mirror it back in your mind before you answer.",
        f"{{it}} shown flipped {words}. Undo the flip, then answer.",
        f"Note: {{it}} flipped {words}. The question is about the view that is not flipped.",
    )
    return Transform(notes, kind, turn)


def _with_noise(sigma: float) -> Transform:
    notes = (
        "{it} overlaid with random noise (standard deviation {sigma} of 255); look through it.",
        "{it} disturbed by Gaussian noise of standard deviation {sigma} (of 255). "
        "Ignore it when you answer.",
        "Note: {it} noisy (Gaussian, standard deviation {sigma} of 255).",
    )
    return Transform(notes, "noise", sigma=sigma)


# PIL rotates counter-clockwise.
TRANSFORMS = {
    "clockwise": _turned(Image.Transpose.ROTATE_270, "by 90 degrees clockwise"),
    "counter-clockwise": _turned(Image.Transpose.ROTATE_90, "by 90 degrees counter-clockwise"),
    "upside-down": _turned(Image.Transpose.ROTATE_180, "by 180 degrees"),
    "noise-10": _with_noise(10),
    "noise-25": _with_noise(25),
    "noise-50": _with_noise(50),
    "mirror": _mirrored(Image.Transpose.FLIP_LEFT_RIGHT, "left to right"),
    "flip": _mirrored(Image.Transpose.FLIP_TOP_BOTTOM, "top to bottom"),
    # Both flips together equal a rotation by 180 degrees.
    "mirror-and-flip": _mirrored(
        Image.Transpose.ROTATE_180, "left to right and top to bottom", kind="turn"
    ),
}

# Rotations and noise of the paper. Flips are opt-in, since a mirror makes text unreadable.
PUBLISHED = ["clockwise", "counter-clockwise", "upside-down", "noise-10", "noise-25", "noise-50"]
