"""The run of `reproducible` under FSDP, for `accelerate launch`: OUT MODEL ROWS OPTIONS."""

import functools
import json
import os
import sys
from pathlib import Path

import reproducible
import torch
from accelerate import DistributedType, PartialState
from datasets import Dataset
from transformers import training_args

from vantage.training.trl.run import part


def shard_on_a_cpu() -> None:
    """Have accelerate shard here too: without a GPU it would copy the model, without a word."""
    start = PartialState.__init__

    @functools.wraps(start)
    def started(self, *args, **kwargs):
        start(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU
            self.device = torch.device("cpu")  # without a number, by which FSDP 1 would miss it

    PartialState.__init__ = started


def deepspeed_on_a_cpu() -> None:
    """Have accelerate start DeepSpeed on CPUs: without a GPU it would know of one process.

    And transformers take bfloat16 there, and DeepSpeed exchange with gloo, compiling nothing.
    """
    from deepspeed.comm import torch as communication

    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_CPU)
    training_args.is_torch_bf16_gpu_available = lambda: True
    communication.build_shm_op = lambda: None


if __name__ == "__main__":
    torch.set_num_threads(1)
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        deepspeed_on_a_cpu()
    else:
        shard_on_a_cpu()
    out, model, rows, options = sys.argv[1:]
    reproducible.train(Path(out), model, Dataset.from_parquet(rows), json.loads(options))
    part()
