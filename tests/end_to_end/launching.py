"""Training runs in processes of their own, which can be killed, or train together.

They are forked from a server that has imported torch and TRL, which takes seconds, once.
"""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

# A process that is killed leaves semaphores behind; Python's tracker removes them, and says so.
os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")

SECONDS = 300  # longer than any of the runs, shorter than processes wait for one another

HERE = Path(__file__).parent
READY = HERE.parents[1] / "recipes" / "accelerate"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["vantage.training.trl", "vantage.demo.digits", "deepspeed"])


class Launch:
    """Processes that call `target(*arguments)` in one process group, as under torchrun."""

    def __init__(self, log: Path, processes: int, target, *arguments):
        self.log, self.deadline = log, time.monotonic() + SECONDS
        world = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        world |= {"MASTER_ADDR": "localhost", "MASTER_PORT": _free_port()}
        world |= {"TORCH_DISTRIBUTED_DEBUG": "DETAIL"}  # tells of processes that do not agree
        self.processes = []
        for rank in range(processes):
            variables = world | {"RANK": rank, "LOCAL_RANK": rank} if processes > 1 else {}
            call = (log, variables, target, arguments)
            self.processes.append(SERVER.Process(target=_call, args=call))
            self.processes[-1].start()

    @property
    def runs(self) -> bool:
        """Whether all of them still do, in time."""
        return self._codes() == {None} and time.monotonic() < self.deadline

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def finish(self) -> None:
        """Wait until all processes succeed; if one fails, kill the others."""
        while {None} <= self._codes() <= {0, None} and time.monotonic() < self.deadline:
            time.sleep(0.02)
        codes = self._codes()
        self.kill()
        assert codes == {0}, self.log.read_text()[-5000:]

    def _codes(self) -> set[int | None]:
        return {process.exitcode for process in self.processes}


def accelerated(file: str, flags: dict, *arguments) -> None:
    """Two local processes of `sharded.py` under a recipe file of `accelerate`."""
    flags = {"num_processes": 2, "main_process_port": 0} | flags
    options = [f"--{name}={value}" for name, value in flags.items()]
    command = ["-m", "accelerate.commands.launch", f"--config_file={READY / file}.yaml", *options]
    variables = {"OMP_NUM_THREADS": "1", "TORCH_DISTRIBUTED_DEBUG": "DETAIL"}
    done = subprocess.run(
        [sys.executable, *command, str(HERE / "sharded.py"), *map(str, arguments)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def _call(log: Path, variables: dict[str, int | str], target, arguments) -> None:
    with log.open("a") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    os.environ.update({name: str(value) for name, value in variables.items()})
    import torch

    torch.set_num_threads(1)
    try:
        target(*arguments)
    finally:  # or PyTorch's threads may abort the process while it exits
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
