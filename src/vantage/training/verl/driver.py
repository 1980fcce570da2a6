"""The driver: an actor next to Ray's head that checks the cluster, then runs veRL's trainer."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vantage.errors import EngineError

# Packages whose versions must be the same on every node.
PACKAGES = ("vantage-rl", "verl", "transformers", "torch", "ray", "TransferQueue")


def differences(of_node: dict[str, dict[str, str]], here: dict[str, str]) -> list[str]:
    """List the packages whose version on a node differs from that of the driver.

    Args:
        of_node: Address of a node -> version of each package.
        here: Version of each package on the driver.
    """
    return [
        f"{node}: {name} {versions.get(name, 'missing')}, driver {version}"
        for node, versions in of_node.items()
        for name, version in here.items()
        if versions.get(name) != version
    ]


def check_cluster() -> None:
    """Check that all nodes have the driver's packages and can import vantage.

    Raises:
        EngineError: Some nodes differ; names the nodes and packages.
    """

    # A local function is sent by value, so that it also runs on nodes without vantage.
    def installed(packages: tuple[str, ...]) -> dict[str, str]:
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
            found["vantage-rl"] = f"cannot be imported ({type(error).__name__}: {error})"
        return found

    remote = ray.remote(num_cpus=0, max_retries=0)(installed)
    pending = {}
    for node in filter(lambda node: node["Alive"], ray.nodes()):
        on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        placed = remote.options(scheduling_strategy=on_node)
        pending[node["NodeManagerAddress"]] = placed.remote(PACKAGES)
    of_node = {node: ray.get(result) for node, result in pending.items()}
    differing = differences(of_node, installed(PACKAGES))
    if differing:
        raise EngineError(
            "the nodes of the cluster have different packages than the driver: "
            + "; ".join(differing)
            + ". Install the same vantage-rl[verl] on every node (see docs/verl.md)"
        )


@ray.remote(num_cpus=1)
class Driver:
    """Checks the cluster, then runs the trainer as veRL's own task runner does."""

    def run(self, config: Any) -> None:
        """Run the training.

        Args:
            config: veRL's configuration, from `vantage.training.verl.launch`.

        Raises:
            VantageError: The cluster, the data or the model does not fit the configuration.
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
