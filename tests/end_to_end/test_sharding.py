"""Two processes under `accelerate launch` with a recipe file train like one process."""

import json
import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import reproducible
import torch
from launching import Launch, accelerated

# LLaVA's own list of layers to cut names one that it does not have.
LAYERS = {"fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer,CLIPEncoderLayer"}
GRPO = {"recipe": "grpo", "max_steps": 6, "gradient_accumulation_steps": 2}
EVALUATED = GRPO | {"eval_strategy": "steps", "eval_steps": 2}
SHARED = {
    "recipe": {"name": "share-shuffle", "rounds": 4},
    "variants": {"prompts": 2, "transforms": {"names": ["noise-25"], "probability": 0.7}},
    "max_steps": 12,
    "gradient_accumulation_steps": 2,
    "beta": 0.1,
}
ADAPTERS = {
    "freeze_vision_tower": True,
    "lora": {
        "r": 4,
        "target_modules": r".*language_model.*(q|v)_proj",
        "init_lora_weights": False,
    },
    "beta": 0.1,
    "learning_rate": 0.5,
}
EXACT = (1e-5, 1e-4)
# bfloat16 has steps of 0.4 %. One process rounds where a layer multiplies; FSDP also what goes
# from layer to layer, and DeepSpeed everything that a layer computes.
ROUNDED = (0.05, 0.15)


@dataclass(frozen=True)
class Case:
    """What two processes are started with.

    Attributes:
        file: for accelerate; flags: what is different here.
        options: of the run; forward: rows of a forward in one process, two have half.
        rows, model: fixtures.
        close: how far losses and gradient norms may be apart, as a share of the largest, and
            weights, as a share of how far they move.
    """

    file: str
    flags: dict
    options: dict = field(default_factory=lambda: EVALUATED)
    forward: int = 8
    rows: str = "few_with_images"
    model: str = "untied_model"
    close: tuple[float, float] = EXACT


FSDP = LAYERS | {"mixed_precision": "no"}
FSDP_BF16 = LAYERS | {"mixed_precision": "bf16"}
# Several forwards an update, although rows without an advantage go through none.
SEVERAL = {"gradient_accumulation_steps": 8}
FSDP_1 = {"fsdp_version": 1, "fsdp_use_orig_params": "true", "fsdp_sync_module_states": "false"}
CASES = {
    "FSDP 2": Case("fsdp", FSDP, EVALUATED | SEVERAL, 2),
    "FSDP 2, share-shuffle": Case(
        "fsdp",
        FSDP,
        SHARED | {"gradient_accumulation_steps": 4},
        2,
        "some_without_images",
        "tiny_model",
    ),
    "FSDP 2, bf16": Case(
        "fsdp", FSDP_BF16, GRPO | SEVERAL | {"bf16": True}, 2, "some_without_images", close=ROUNDED
    ),
    "FSDP 2, bf16, frozen tower, adapters and KL": Case(
        "fsdp", FSDP_BF16, GRPO | ADAPTERS | {"bf16": True}, close=ROUNDED
    ),
    "ZeRO 2": Case("deepspeed", {"mixed_precision": "no"}),
    "ZeRO 2, bf16": Case("deepspeed", {}, GRPO | {"bf16": True}, close=ROUNDED),
    "ZeRO 3": Case("deepspeed-zero3", {"mixed_precision": "no"}),
}
# Not in every run: what differs from a case above in one thing.
MORE = {
    "FSDP 2, frozen tower, adapters and KL": Case("fsdp", FSDP, GRPO | ADAPTERS),
    "FSDP 1": Case("fsdp", FSDP | FSDP_1, EVALUATED | SEVERAL, 2),
    "FSDP 2, no image": Case("fsdp", FSDP, EVALUATED, rows="none_with_images"),
    "ZeRO 2, no image": Case("deepspeed", {"mixed_precision": "no"}, rows="none_with_images"),
    "ZeRO 3, no image": Case("deepspeed-zero3", {"mixed_precision": "no"}, rows="none_with_images"),
    "ZeRO 3, bf16": Case("deepspeed-zero3", {}, GRPO | {"bf16": True}, close=ROUNDED),
    "ZeRO 3, weights cut while generating": Case(
        "deepspeed-zero3",
        {"mixed_precision": "no"},
        EVALUATED | {"ds3_gather_for_generation": False},
    ),
}


@pytest.fixture(scope="module")
def alone(request, tmp_path_factory):
    """What one process does, trained once for all cases that are compared with it."""
    done = {}

    def train(case: Case) -> SimpleNamespace:
        here = {name: value for name, value in case.options.items() if not name.startswith("ds3")}
        settings = here | {"per_device_train_batch_size": case.forward}
        settings |= {"per_device_eval_batch_size": 8}
        key = json.dumps([case.rows, case.model, settings])
        if key not in done:
            out = tmp_path_factory.mktemp("alone")
            rows, model = request.getfixturevalue(case.rows), request.getfixturevalue(case.model)
            Launch(out / "log", 1, reproducible.train, out, model, rows, settings).finish()
            done[key] = outcome(out)
        return done[key]

    return train


@pytest.fixture(
    scope="module",
    params=[*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)],
)
def case(request, tmp_path_factory, alone):
    """A case, what one process did, and what two did that share the weights or gradients."""
    case = (CASES | MORE)[request.param]
    out = tmp_path_factory.mktemp("two")
    request.getfixturevalue(case.rows).to_parquet(out / "rows.parquet")
    cut = {"per_device_train_batch_size": case.forward // 2, "per_device_eval_batch_size": 4}
    if case.file != "fsdp":
        cut["use_cpu"] = False  # DeepSpeed is not started otherwise
    model, settings = request.getfixturevalue(case.model), json.dumps(case.options | cut)
    accelerated(case.file, case.flags, out, model, out / "rows.parquet", settings)
    return SimpleNamespace(name=request.param, case=case, one=alone(case), two=outcome(out))


def outcome(out) -> SimpleNamespace:
    records = [json.loads(path.read_text()) for path in sorted(out.glob("record-*.json"))]
    return SimpleNamespace(records=records, weights=torch.load(out / "weights-0.pt"))


def test_weights_and_gradients_are_sharded(case):
    (alone,) = case.one.records
    assert alone["kept"] == alone["weights"]
    for record in case.two.records:
        if "ZeRO 2" not in case.name:
            assert abs(record["kept"] / alone["weights"] - 0.5) < 0.05
        assert record["held"] < 0.55 * alone["trainable"]
    if "FSDP" in case.name and "no image" not in case.name:  # there the tower has no gradient
        assert all(record["held"] > 0.45 * alone["trainable"] for record in case.two.records)


def test_losses_match_a_single_process(case):
    (alone,), (close, _) = case.one.records, case.case.close
    for record in case.two.records:
        assert record["plans"] == alone["plans"]
        for name in ("loss", "grad_norm", "reward", "eval_reward"):
            expected = [line[name] for line in alone["log"] if name in line]
            found = [line[name] for line in record["log"] if name in line]
            largest = np.abs(expected).max(initial=0.0)
            np.testing.assert_allclose(found, expected, rtol=0, atol=close * largest)
    assert max(abs(line.get("loss", 0)) for line in alone["log"]) > 1e-2


def test_weights_match_a_single_process(case):
    (alone,), (_, close) = case.one.records, case.case.close
    assert alone["moved"] > 1e-3
    for name, value in case.one.weights.items():
        expected = {"rtol": 0, "atol": close * alone["moved"], "check_dtype": False}
        torch.testing.assert_close(case.two.weights[name], value, **expected)


def test_log_probs_are_not_rounded(case):
    """What bfloat16 can hold would be a multiple of 0.03 where log-probs are about -5."""
    for record in case.two.records:
        shares = [share for share in record["rounded"] if not math.isnan(share)]  # padding alone
        assert shares
        assert max(shares) < 0.2


def test_every_forward_has_an_image_if_one_has(case):
    """Others would not exchange what the vision tower has."""
    first, second = ([made[:2] for made in record["forwards"]] for record in case.two.records)
    assert first == second
    for record in case.two.records:
        shown = [any(seen) for seen in record["seen"]]
        assert all(shown) or not any(shown)
        if case.case.rows == "few_with_images":
            alike = [seen for seen in record["seen"] if len(seen) > 1]
            assert any(seen[-1] and not any(seen[:-1]) for seen in alike)
