"""Host memory of a rollout batch with many images, measured in a separate process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
GIB = 2**30
PICTURES, ROLLOUTS = 64, 16
WIDE, HIGH = 28 * 77, 28 * 13  # a token is 28 x 28
TOKENS = 77 * 13


def test_pixels_are_held_once_a_picture(tmp_path):
    """64 pictures of 1,001 tokens, 16 rollouts each: the processor's patches take 1.12 GiB."""
    script = [
        sys.executable,
        str(HERE / "preparing.py"),
        *map(str, (PICTURES, ROLLOUTS, WIDE, HIGH)),
    ]
    done = subprocess.run(script, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["prompts"] == PICTURES * ROLLOUTS
    assert found["image_tokens"] == TOKENS
    assert found["pictures"] == pytest.approx(PICTURES * 4 * TOKENS * 3 * 2 * 14**2 * 4, rel=1e-6)
    assert found["pictures"] < found["more"] < 1.5 * GIB
