"""Image transforms that keep the answer, each with a note that says exactly what was done.

Share-GRPO's online transforms, https://arxiv.org/abs/2505.16673: turns and noise of the paper,
and the three flips that its code has besides. A transform that could change the answer to a
question is told by `vantage.questions.orientation`; the published code has no such guard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

# Of the noise whose strength has faded: less than half a grey level changes no pixel.
FAINTEST = 0.5


@dataclass(frozen=True)
class Transform:
    """A change of an image.

    Attributes:
        notes: wordings of what the prompt says about it; {it} stands for "The image is" and
            {sigma} for the strength of the noise.
        turn: how the picture is turned or mirrored, exactly; None for noise.
        sigma: standard deviation of Gaussian noise, in grey levels of 255.
        kind: "turn", "mirror" or "noise".
    """

    notes: tuple[str, ...]
    kind: str
    turn: Image.Transpose | None = None
    sigma: float = 0.0

    def wordings(self, images: int = 1, sigma: float | None = None) -> list[str]:
        """The notes for so many images, and noise of that strength instead of the usual one."""
        it = "The image is" if images == 1 else "All images are"
        strength = f"{self.sigma if sigma is None else sigma:.3g}"
        return [note.format(it=it, sigma=strength) for note in self.notes]


@dataclass(frozen=True)
class Applied:
    """A transform as a step of a picture; the same values give the same pixels.

    Attributes:
        name: one of `TRANSFORMS`.
        sigma: of the noise, in grey levels of 255.
        seed: of the noise.
    """

    name: str
    sigma: float = 0.0
    seed: int = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        """The changed image."""
        turn = TRANSFORMS[self.name].turn
        return noisy(image, self.sigma, self.seed) if turn is None else image.transpose(turn)


def noisy(image: Image.Image, sigma: float, seed: int) -> Image.Image:
    """The image with Gaussian noise on every channel, rounded and cut off at 0 and 255."""
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


# PIL counts its turns counter-clockwise.
TRANSFORMS = {
    "clockwise": _turned(Image.Transpose.ROTATE_270, "by 90 degrees clockwise"),
    "counter-clockwise": _turned(Image.Transpose.ROTATE_90, "by 90 degrees counter-clockwise"),
    "upside-down": _turned(Image.Transpose.ROTATE_180, "by 180 degrees"),
    "noise-10": _with_noise(10),
    "noise-25": _with_noise(25),
    "noise-50": _with_noise(50),
    "mirror": _mirrored(Image.Transpose.FLIP_LEFT_RIGHT, "left to right"),
    "flip": _mirrored(Image.Transpose.FLIP_TOP_BOTTOM, "top to bottom"),
    # Both flips together move every pixel as a turn by 180 degrees does.
    "mirror-and-flip": _mirrored(
        Image.Transpose.ROTATE_180, "left to right and top to bottom", kind="turn"
    ),
}

# The paper's turns and noise. Flips have to be asked for: a mirror makes text unreadable.
PUBLISHED = ["clockwise", "counter-clockwise", "upside-down", "noise-10", "noise-25", "noise-50"]
