"""By the estimate of `vantage check`, the shipped recipes fit the GPUs that their files name."""

import pytest

from vantage.checking.memory import GIB
from vantage.training.resolved import Cut


@pytest.fixture(scope="module")
def benchmark():
    import memory

    return memory


NAMES = (
    "geometry3k-qwen2.5-vl-3b-24gb-lora",
    "geometry3k-qwen2.5-vl-3b-shuffle-r1",
    "geometry3k-qwen2.5-vl-7b-shuffle-r1",
    "mmrl30k-qwen2.5-vl-3b-shuffle-r1",
    "mmrl30k-qwen2.5-vl-7b-shuffle-r1",
    "share-vl-qwen2.5-vl-3b-share-grpo",
    "share-vl-qwen2.5-vl-7b-share-grpo",
)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_fits_the_gpus_that_its_file_names(name, benchmark):
    processes, gpu = benchmark.HARDWARE[name]
    said = f"one {gpu} GB GPU is" if processes == 1 else f"{processes} GPUs of {gpu} GB are"
    head = (benchmark.RECIPES / f"{name}.yaml").read_text().partition("model:")[0]
    assert f"According to `vantage check`, {said} enough" in head
    found = benchmark.needs(benchmark.loaded(name), Cut(processes, "fsdp"))
    assert found.memory.fits(found.sampler, gpu * GIB)
    if processes > 1:
        assert f"--num_processes {processes}" in head
    alone = benchmark.needs(benchmark.loaded(name), Cut())
    assert alone.memory.fits(alone.sampler, gpu * GIB) == (processes == 1)


def test_3b_fits_one_gpu_only_if_vllm_sleeps(benchmark):
    awake = {"trl.vllm_enable_sleep_mode": "false"}
    found = benchmark.needs(benchmark.loaded(NAMES[1], awake), Cut())
    # Weights and AdamW states of 3 billion parameters in float32, plus 24 GiB of vLLM.
    assert found.memory.beside(found.sampler, 80 * GIB) / GIB == pytest.approx(87, abs=1)
    assert not found.memory.fits(found.sampler, 80 * GIB)


def test_compensated_sums_nearly_halve_the_memory_of_3b(benchmark):
    whole = benchmark.needs(benchmark.loaded(NAMES[1]), Cut()).memory
    less = benchmark.needs(benchmark.loaded(NAMES[1], benchmark.SUMS), Cut()).memory
    assert less.total < 0.6 * whole.total
    parts = (less.weights, less.gradients, less.optimizer, less.copies)
    assert sum(parts) == 2 * whole.weights // 4 + whole.gradients // 4 * (2 + 6)
