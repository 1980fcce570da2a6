"""Fixtures that run real veRL on a real, local Ray cluster, which the tests share."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# Set before veRL is imported, and inherited by Ray's workers.
os.environ |= {
    "VERL_PLATFORM": "cpu",
    "VERL_ENGINE_DEVICE": "cuda",
    "VERL_USE_EXTERNAL_MODULES": "cpu_cluster",
    "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "RAY_DEDUP_LOGS": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
sys.path.insert(0, str(HERE))
sys.path += [str(HERE.parent / "models"), str(HERE.parent / "training")]  # families of models


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Directory with tiny models and data sets, with and without images."""
    import cpu_cluster  # noqa: F401, because torchvision needs it
    import tiny

    folder = tmp_path_factory.mktemp("tiny")
    tiny.text_model(folder / "text")
    tiny.vision_model(folder / "vision")
    tiny.rows(folder / "text.parquet")
    tiny.rows(folder / "vision.parquet", images=True)
    return folder


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A local Ray cluster for up to two workers."""
    import ray

    os.environ["VERL_FILE_LOGGER_ROOT"] = str(tmp_path_factory.mktemp("logs"))
    ray.init(num_cpus=32, num_gpus=2, include_dashboard=False, log_to_driver=True)
    yield
    ray.shutdown()


@pytest.fixture
def settings(tiny, tmp_path):
    """Function that builds the configuration of a short run; options as section__option=value."""
    from vantage import config as configuration

    def make(kind: str = "text", *, workers: int = 1, **options):
        run = tmp_path / f"run-{tmp_path.name}-{workers}"
        notes = run / "notes"
        notes.mkdir(parents=True, exist_ok=True)
        values = {
            "engine": "verl",
            "model": {"path": str(tiny / kind), "dtype": "float32", "attention": "sdpa"},
            "data": {
                "train": str(tiny / f"{kind}.parquet"),
                "template": "{question}",
                "max_prompt_tokens": 200,
                "columns": {"question": "question", "answer": "answer"},
            },
            "rewards": {f"{HERE / 'tiny.py'}:length": 1.0},
            "batch": {"questions": 4, "rollouts": 4, "updates": 2, "micro_batch": 4},
            "generation": {"max_tokens": 8},
            "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.01},
            "run": {"output": str(run), "batches": 2, "save_every": 2},
            "verl": _verl(workers, notes),
        }
        if kind == "vision":
            values["data"]["columns"]["images"] = "images"
        for name, value in options.items():
            *sections, option = name.split("__")
            nested = values
            for section in sections:
                nested = nested.setdefault(section, {})
            nested[option] = value
        return configuration.parse(values)

    return make


def _verl(workers: int, notes: Path) -> dict:
    return {
        "actor_rollout_ref": {
            "model": {"use_remove_padding": False, "enable_gradient_checkpointing": False},
            "actor": {
                "strategy": "fsdp2",
                "use_torch_compile": False,
                # With the default eps, a gradient that is only rounding error moves a weight.
                "optim": {"override_optimizer_config": {"eps": 1e-3}},
            },
            "rollout": {
                "name": "hf",
                "free_cache_engine": False,
                "agent": {
                    "num_workers": 1,
                    "default_agent_loop": "seeded",
                    "agent_loop_config_path": str(HERE / "agents.yaml"),
                },
                "engine_kwargs": {"+hf": {"notes": str(notes)}},
            },
        },
        "reward": {"num_workers": 1},
        "trainer": {
            "n_gpus_per_node": workers,
            "device": "cpu",
            "logger": ["file"],
            "checkpoint_callback_class": "cpu_cluster.Watching",
        },
        "transfer_queue": {"backend": {"SimpleStorage": {"num_data_storage_units": 1}}},
        "ray_kwargs": {"ray_init": {"num_cpus": 32, "+num_gpus": 2, "+include_dashboard": False}},
    }


class Run:
    """Results of a run: metrics of each step, and what `cpu_cluster.Watching` saved."""

    def __init__(self, folder: Path):
        self.folder, self.notes = folder, folder / "notes"

    def batch(self, step: int) -> dict:
        import torch

        return torch.load(self.notes / f"batch-{step}.pt", weights_only=False)

    def weights(self, step: int) -> dict:
        import torch

        saved = torch.load(self.notes / f"weights-{step}.pt", weights_only=False)
        return {name: torch.from_numpy(value) for name, value in saved.items()}

    def remaining(self) -> dict:
        """Rows in veRL's store at the end of the run."""
        import torch

        return torch.load(self.notes / "remaining.pt", weights_only=False)

    def metrics(self) -> list[dict]:
        logs = Path(os.environ["VERL_FILE_LOGGER_ROOT"]) / "vantage"
        lines = (logs / f"{self.folder.name}.jsonl").read_text().splitlines()
        return [json.loads(line)["data"] for line in lines]


@pytest.fixture
def train(cluster, monkeypatch):
    """Function that trains a configuration on the shared cluster, and returns the results."""
    from vantage.training.verl import launch

    def run(config, resume: bool = False) -> Run:
        try:
            launch.train(config, resume=resume)
        except Exception:
            _end_actors()
            raise
        finally:
            _remove_placement_groups()
        return Run(Path(config.run.output))

    return run


def _end_actors() -> None:
    """End the actors of a failed run, since the next run uses the same names."""
    import ray

    for name in ray.util.list_named_actors():
        ray.kill(ray.get_actor(name))
    while ray.util.list_named_actors():
        time.sleep(0.1)


def _remove_placement_groups() -> None:
    """Remove the placement groups of a run: veRL names them by the job, which all tests share."""
    from ray.util import get_placement_group, placement_group_table, remove_placement_group

    for group in placement_group_table().values():
        if group["state"] != "REMOVED":
            remove_placement_group(get_placement_group(group["name"]))
