"""The wheel is named `vantage-rl` and contains the package, data files and recipe files."""

import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "vantage"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*command, ROOT], check=True)
    (file,) = folder.iterdir()
    with zipfile.ZipFile(file) as archive:
        yield archive


def files_under(folder: Path) -> set[str]:
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    return {file for file in files if "__pycache__" not in file}


def test_wheel_holds_the_package_and_the_recipe_files(wheel):
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = {f"vantage/{file}" for file in files_under(PACKAGE)}
    recipes = {f"vantage/recipes/{file}" for file in files_under(ROOT / "recipes")}
    assert held == package | recipes
    for name in recipes:
        source = ROOT / "recipes" / name.removeprefix("vantage/recipes/")
        assert wheel.read(name) == source.read_bytes()


def test_wheel_names_the_distribution_the_command_and_the_licence(wheel):
    (place,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    about = message_from_bytes(wheel.read(place))
    assert (about["Name"], about["License-Expression"]) == ("vantage-rl", "Apache-2.0")
    assert not any(line.startswith("vantage") for line in about.get_all("Requires-Dist"))
    points = wheel.read(place.replace("METADATA", "entry_points.txt")).decode()
    assert "vantage = vantage.cli:main" in points
    assert place.replace("METADATA", "licenses/LICENSE") in wheel.namelist()


def test_recipes_command_names_the_directory_of_the_recipe_files(vantage):
    _, out, _ = vantage("recipes")
    assert f"recipe files to copy: {ROOT / 'recipes'}\n" in out
