"""Two processes that train together, vLLM in both: MODEL OUT TENSOR_PARALLEL, for torchrun."""

import faulthandler
import json
import os
import sys
from pathlib import Path

import on_a_cpu
import sampling
import torch
import trl.generation.vllm_generation as generation
from training_cases import mixed_rows

SECONDS = 240


def main(model: str, out: Path, tensor_parallel: int) -> None:
    on_a_cpu.keep_weights_unpacked()
    sampling.Engine.kind, generation.LLM = generation.LLM, sampling.Engine
    torch.set_num_threads(1)
    rows = mixed_rows(8, live=tuple(range(8))).map(sampling.larger)
    options = {
        "vllm_tensor_parallel_size": tensor_parallel,
        "per_device_train_batch_size": 4,
        "ddp_backend": "gloo",
    }
    rank = int(os.environ["RANK"])
    trainer = sampling.made(model, out / f"run-{rank}", rows, **options)
    trainer.train()
    found = {**sampling.seen(trainer), "processes": trainer.accelerator.num_processes}
    (out / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
