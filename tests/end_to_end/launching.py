"""Processes of their own for training runs: they can be killed, and several can train together.

They are forked from a server that has imported torch and TRL, which takes seconds, once.
"""

import multiprocessing
import os
import socket
import sys
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["vantage.training.trl", "vantage.demo.digits"])


def start(log: Path, target, *arguments, rank: int = 0, ranks: int = 1, port: int = 0):
    """A started process that calls `target(*arguments)`, as torchrun would for that rank."""
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    world |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
    variables = {name: str(value) for name, value in world.items()} if ranks > 1 else {}
    process = SERVER.Process(target=_call, args=(log, variables, target, arguments))
    process.start()
    return process


def together(log: Path, ranks: int, target, *arguments) -> None:
    """Call `target(*arguments)` on so many processes that find each other, and wait for them."""
    port = free_port()
    processes = [
        start(log, target, *arguments, rank=rank, ranks=ranks, port=port) for rank in range(ranks)
    ]
    for process in processes:
        process.join()
    assert all(process.exitcode == 0 for process in processes), log.read_text()[-4000:]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def _call(log: Path, variables: dict[str, str], target, arguments) -> None:
    with log.open("a") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    os.environ.update(variables)
    import torch

    torch.set_num_threads(1)
    target(*arguments)
