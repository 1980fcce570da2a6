"""Measures passing a rollout batch to vLLM: PICTURES ROLLOUTS WIDE HIGH; prints JSON.

vLLM itself is a stand-in that answers with one token; memory is that of the process.
"""

import json
import sys
import threading
import time

import families
import numpy as np
import psutil
import torch
import training_cases
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures
from transformers import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vantage.training.trl import VantageTrainer, vllm


class Processor(Qwen2_5_VLProcessor):
    """Without a video processor, which needs torchvision."""

    def check_argument_for_proper_class(self, name, argument):
        return


class Peak(threading.Thread):
    """Peak memory of this process within the context."""

    def __init__(self):
        super().__init__(daemon=True)
        self.process, self.most, self.ends = psutil.Process(), 0, False

    def run(self):
        while not self.ends:
            self.most = max(self.most, self.process.memory_info().rss)
            time.sleep(0.005)


class HandedOverError(Exception):
    """The batch has been handed over."""


class Sampler(vllm.Sampler):
    """Prints its inputs, then stops."""

    def _init_vllm(self):
        pass

    def sync_weights(self):
        pass

    @property
    def dtype(self):
        return torch.float32

    def generate(self, prompts, images, num_generations, profiler=None):
        self.prompts, self.images = prompts, images
        raise HandedOverError


def picture(number: int, wide: int, high: int) -> Pictures.Image:
    """An image that compresses like a photograph."""
    small = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return Pictures.fromarray(small).resize((wide, high), Pictures.Resampling.BICUBIC)


def rows(pictures: int, wide: int, high: int) -> Dataset:
    features = Features(
        {"prompt": List({"role": Value("string"), "content": Value("string")}), "image": Image()}
    )
    made = [
        {
            "prompt": [{"role": "user", "content": f"Add 3 + {number}."}],
            "image": picture(number, wide, high),
        }
        for number in range(pictures)
    ]
    return Dataset.from_list(made, features=features)


def main(pictures: int, rollouts: int, wide: int, high: int) -> dict:
    torch.set_num_threads(1)
    processor = families.qwen_processor(Processor, Qwen2VLImageProcessorPil, None, merge=2)
    processor.image_processor.size = {"shortest_edge": 56**2, "longest_edge": wide * high}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64}
    model, _ = families.qwen_vl(
        families.Qwen2_5_VLForConditionalGeneration,
        families.Qwen2_5_VLConfig,
        processor,
        {**vision, "window_size": 56, "fullatt_block_indexes": [0]},
    )
    vllm.Sampler = Sampler
    args = training_cases.config(
        "runs/preparing",
        use_vllm=True,
        vllm_mode="colocate",
        vllm_importance_sampling_correction=False,
        num_generations=rollouts,
        per_device_train_batch_size=pictures * rollouts,
        steps_per_generation=1,
        check_data=False,
    )
    reward = training_cases.Reward()
    trainer = VantageTrainer(
        model, reward, args, rows(pictures, wide, high), processing_class=processor
    )
    before, peak = psutil.Process().memory_info().rss, Peak()
    peak.start()
    try:
        trainer.train()
    except HandedOverError:
        peak.ends = True
    encodings = list(trainer._encoder._known.values())
    held = {id(e.fields["pixel_values"]): e.fields["pixel_values"] for e in encodings}
    return {
        "prompts": len(trainer.vllm_generation.prompts),
        "image_tokens": encodings[0].ids.count(processor.image_token_id),
        "pictures": sum(pixels.numel() * pixels.element_size() for pixels in held.values()),
        "more": peak.most - before,
    }


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
