"""The driver, an actor beside Ray's head: looks at the cluster, then runs veRL's trainer."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vantage.errors import EngineError

# What must be the same on every node.
PACKAGES = ("vantage-rl", "verl", "transformers", "torch", "ray", "TransferQueue")


def differences(of_node: dict[str, dict[str, str]], here: dict[str, str]) -> list[str]:
    """What each node has otherwise than the driver, a line each."""
    return [
        f"{node}: {name} {versions.get(name, 'missing')}, here {version}"
        for node, versions in of_node.items()
        for name, version in here.items()
        if versions.get(name) != version
    ]


def check_cluster() -> None:
    """Refuse a cluster on which a worker would run something else, or nothing.

    Raises:
        EngineError: names the nodes and packages.
    """

    # Here, so that it is sent by value: a node without vantage can answer too.
    def look(packages: tuple[str, ...]) -> dict[str, str]:
        import importlib
        from importlib import metadata

        found = {}
        for name in packages:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = "missing"
        try:
            importlib.import_module("vantage.training.verl.dataset")
        except Exception as error:
            found["vantage-rl"] = f"cannot be loaded ({type(error).__name__}: {error})"
        return found

    remote = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {}
    for node in filter(lambda node: node["Alive"], ray.nodes()):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        placed = remote.options(scheduling_strategy=there)
        asked[node["NodeManagerAddress"]] = placed.remote(PACKAGES)
    found = {node: ray.get(answer) for node, answer in asked.items()}
    wrong = differences(found, look(PACKAGES))
    if wrong:
        raise EngineError(
            "the nodes of the cluster do not agree: " + "; ".join(wrong) + ". Install the same "
            "vantage-rl[verl] on every node (see docs/verl.md)"
        )


@ray.remote(num_cpus=1)
class Driver:
    """Runs the trainer; what veRL's own task runner does, with a look at the cluster first."""

    def run(self, config: Any) -> None:
        """Train.

        Raises:
            VantageError: whatever cannot work, before the first rollout.
        """
        check_cluster()
        import transfer_queue as tq
        from omegaconf import OmegaConf
        from verl.trainer.ppo.v1 import AgentLoopManagerTQ
        from verl.trainer.ppo.v1.trainer_base import get_trainer_cls
        from verl.utils.logging_utils import configure_verl_logging

        from vantage.training.blame import blamed
        from vantage.training.verl import trainer as _registered  # noqa: F401

        configure_verl_logging()
        config.transfer_queue.enable = True
        OmegaConf.resolve(config)
        tq.init(config.transfer_queue)
        trainer, done = None, False
        try:
            trainer = get_trainer_cls(config.trainer.v1.trainer_mode)(config=config)
            trainer.init()
            manager = AgentLoopManagerTQ.create(
                config=config,
                llm_client=trainer.get_llm_client(),
                teacher_client=trainer.get_teacher_client(),
                reward_loop_worker_handles=trainer.get_reward_handles(),
            )
            with blamed(trainer.settings):
                trainer.fit(manager)
            done = True
        finally:
            if trainer is not None:
                trainer.close()
            logger = getattr(trainer, "logger", None)
            if logger is not None:
                logger.finish(exit_code=0 if done else 1)
            tq.close()
