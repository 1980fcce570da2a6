"""YAML blocks are valid configurations after required options are added."""

import blocks
import pytest
import yaml

from vantage import config as configuration
from vantage.rewriting import wordings

YAML = blocks.blocks("yaml")
# Blocks that are not configurations, by page and first line.
WORDINGS = ("docs/expand.md", "- - What is the area of {shape}?")
OF_KUBERNETES = ("docs/verl.md", "apiVersion: ray.io/v1")
OTHERS = {WORDINGS, OF_KUBERNETES}
REQUIRED = {
    "model": {"path": "model"},
    "data": {"train": "rows.parquet"},
    "run": {"output": "run", "batches": 1},
}
CONFIGURATIONS = [block for block in YAML if (block.page, block.first) not in OTHERS]


def only(page: str, first: str) -> blocks.Block:
    (block,) = [block for block in YAML if (block.page, block.first) == (page, first)]
    return block


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=blocks.name_of)
def test_yaml_block_is_a_configuration(block, tmp_path):
    given = yaml.safe_load(block.text)
    required = {name: options | given.get(name, {}) for name, options in REQUIRED.items()}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(given | required))
    configuration.load(file)


def test_wordings_block_is_valid_for_expand(tmp_path):
    file = tmp_path / "wordings.yaml"
    file.write_text(only(*WORDINGS).text)
    assert len(wordings.load(file)) == 2


def test_ray_job_starts_the_number_of_nodes_in_its_command():
    job = yaml.safe_load(only(*OF_KUBERNETES).text)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert f"--verl.trainer.nnodes {group['replicas'] + 1} " in job["spec"]["entrypoint"]
