"""Packed updates equal unpacked ones; packing is off where they would not."""

import logging
import math

import pytest
import torch
from families import FAMILIES
from test_trainer import SHARE, logged, weights
from training_cases import Reward, difference, mixed_rows, trained, trainer

from vantage.errors import ConfigError, EngineError
from vantage.training.trl import prefix
from vantage.training.trl.exactness import Difference, Packing
from vantage.training.trl.packing import _placed

CASES = {
    "images, one, two and none": {},
    "one row a forward": {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "steps_per_generation": 16,
    },
    "repeats and rounds": {
        "recipe": {"name": "shuffle-r1", "rounds": 4},
        "steps_per_generation": 4,
    },
    "shared rows": SHARE,
    "shared, drawn": {**SHARE, "recipe": {"name": "share-shuffle", "rounds": 4}},
    "padding": {"recipe": {"name": "dapo-filter", "refills": 0}},
    "a reference model": {"beta": 0.1},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "a frozen tower": {"freeze_vision_tower": True},
    "eager attention": {"model_init_kwargs": {"attn_implementation": "eager"}},
    "means over rows": {"loss_type": "grpo"},
    "padding to a multiple": {"pad_to_multiple_of": 16},
}


def both(model, rows, tmp_path, **options):
    """The same run packed and row by row."""
    options["max_steps"] = options.get("max_steps", 4)
    ways = {}
    for packing in ("on", "off"):
        ways[packing] = trained(model, rows, tmp_path, packing=packing, **options)
    return ways


@pytest.mark.parametrize("name", CASES)
def test_packed_updates_are_those_row_by_row(name, tiny_model, tmp_path):
    rows = mixed_rows(4, live=(0, 1, 2))
    ways = both(tiny_model, rows, tmp_path, **CASES[name])
    (made, packed), (plain, alone) = ways["on"], ways["off"]
    assert (made.policy.packing.works, plain.policy.packing.works) == (True, False)
    assert len(packed) == len(alone) > 0
    for mine, other in zip(packed, alone, strict=True):
        assert mine.loss == pytest.approx(other.loss, rel=1e-4, abs=1e-5)
        assert difference(mine.gradients, other.gradients) < 1e-3
    assert difference(packed[0].gradients, alone[0].gradients) < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families_are_packed_exactly(name, tmp_path):
    found = []
    for packing in ("on", "off"):
        model, processor = FAMILIES[name]()
        rest = {"processing_class": processor}
        _, steps = trained(model, mixed_rows(4), tmp_path, packing=packing, rest=rest)
        found.append(steps[0].gradients)
    assert difference(*found) < 1e-5


def dropping():
    """A model with dropout in its attention, and its processor."""
    model, processor = FAMILIES["idefics3"]()
    model.config.get_text_config().attention_dropout = 0.1
    return model, {"processing_class": processor}


def test_a_family_that_must_not_be_packed_goes_row_by_row_with_one_notice(tmp_path, caplog):
    model, rest = dropping()
    with caplog.at_level(logging.WARNING):
        made, _ = trained(model, mixed_rows(4), tmp_path, rest=rest, max_steps=8)
    assert made.policy.packing.works is False
    notices = [r.message for r in caplog.records if "packing is off" in r.message]
    assert notices == [
        "packing is off, each row has its own copy of the prompt: dropout that is active"
    ]


def test_packing_that_was_asked_for_is_refused_where_it_is_not_exact(tmp_path):
    model, rest = dropping()
    made = trainer(model, mixed_rows(4), tmp_path, packing="on", rest=rest)
    with pytest.raises(EngineError, match="packing='on', but it is not exact here: dropout"):
        made.train()


def test_an_unknown_way_of_packing_is_refused(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="packing='maybe'"):
        trainer(tiny_model, mixed_rows(4), tmp_path, packing="maybe")


def test_a_difference_on_the_first_group_turns_packing_off(
    tiny_model, tmp_path, monkeypatch, caplog
):
    right = prefix.positions
    # In steps of three: rotary positions are relative, a shift alone would change nothing.
    monkeypatch.setattr(prefix, "positions", lambda *given: right(*given) * 3)
    with caplog.at_level(logging.WARNING):
        made, steps = trained(tiny_model, mixed_rows(4), tmp_path)
    _, plain = trained(tiny_model, mixed_rows(4), tmp_path, packing="off")
    assert made.policy.packing.works is False
    assert "log-probs differ by up to" in caplog.text
    assert difference(steps[0].gradients, plain[0].gradients) < 1e-6


OBSTACLES = {
    "has no packed form": lambda model: setattr(
        model.config.get_text_config(), "_attn_implementation", "kernels-community/other"
    ),
    "layers with chunked_attention": lambda model: setattr(
        model.config.get_text_config(), "layer_types", ["full_attention", "chunked_attention"]
    ),
    "layers with linear_attention": lambda model: setattr(
        model.config.get_text_config(), "layer_types", ["linear_attention"]
    ),
    "an auxiliary loss of experts": lambda model: setattr(
        model.config.get_text_config(), "output_router_logits", True
    ),
    "dropout": lambda model: setattr(model.config.get_text_config(), "attention_dropout", 0.1),
    "dropout that is active": lambda model: model.add_module("drop", torch.nn.Dropout(0.1)),
    "not rotary": lambda model: [
        delattr(module, "rotary_emb")
        for module in list(model.modules())
        if hasattr(module, "rotary_emb")
    ],
}


@pytest.mark.parametrize("words", OBSTACLES)
def test_what_keeps_a_model_from_being_packed_is_told(words):
    model, _ = FAMILIES["idefics3"]()
    model.train()
    assert prefix.obstacle(model) is None
    OBSTACLES[words](model)
    assert words in prefix.obstacle(model)


# ---- the image once ------------------------------------------------------------------------


def towers_run(made) -> list[int]:
    """Counts the images that the vision tower encodes in each forward."""
    seen: list[int] = []
    tower = prefix.towers(made.model)[0]
    tower.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len((*args, *kwargs.values())[0])),
        with_kwargs=True,
    )
    return seen


@pytest.mark.parametrize("packing", ["on", "off"])
def test_a_vision_path_that_does_not_train_runs_once_an_image_a_rollout_batch(
    packing, tiny_model, tmp_path
):
    made = trainer(
        tiny_model,
        mixed_rows(4, live=(0, 1, 2, 3)),
        tmp_path,
        packing=packing,
        max_steps=8,
        **{**SHARE, "steps_per_generation": 4},
    )
    made.model.model.multi_modal_projector.requires_grad_(False)
    for tower in prefix.towers(made.model):
        tower.requires_grad_(False)
    seen = towers_run(made)
    generate, during = made._generate, []

    def spy(*args, **kwargs):
        before = len(seen)
        found = generate(*args, **kwargs)
        during.append(sum(seen[before:]))
        return found

    made._generate = spy
    made.train()
    # Two questions with images, one and two; rewrites share them. One look at what trains.
    assert sum(seen) - sum(during) in (2 * 3 + 1, 2 * 3 + 2)


def test_the_image_processor_runs_once_an_image_a_rollout_batch(tiny_model, tmp_path):
    made = trainer(tiny_model, mixed_rows(4), tmp_path, **{**SHARE, "max_steps": 4})
    inner, seen = made.processing_class.image_processor, []

    class Spying:
        def __getattr__(self, name):
            return getattr(inner, name)

        def __call__(self, images, **kwargs):
            seen.append(images)
            return inner(images, **kwargs)

    made.processing_class.image_processor = Spying()
    made.train()
    assert len(seen) == 2  # questions with images, in two wordings each


def test_reused_features_change_no_gradient(tiny_model, tmp_path):
    found = []
    for reuse in (True, False):
        made = trainer(tiny_model, mixed_rows(4), tmp_path, max_steps=4)
        for module in (*prefix.towers(made.model), made.model.model.multi_modal_projector):
            module.requires_grad_(False)
        if not reuse:
            made.policy._features.shares = lambda model, images: False
        made.train()
        found.append(weights(made))
    assert difference(*found) < 1e-6


@pytest.mark.parametrize("packing", ["on", "off"])
def test_rows_of_a_forward_share_the_features_of_a_tower_that_trains(packing, tiny_model, tmp_path):
    found, seen = [], []
    for shares in (True, False):
        made = trainer(tiny_model, mixed_rows(4), tmp_path, packing=packing, max_steps=2, **SHARE)
        if not shares:
            made.policy._features.shares = lambda model, images: False
        seen.append(towers_run(made))
        made.train()
        found.append(weights(made))
    assert difference(*found) < 1e-6
    assert sum(seen[0]) < sum(seen[1])


def test_a_path_that_trains_is_not_reused(tiny_model, tmp_path):
    made, steps = trained(tiny_model, mixed_rows(4), tmp_path, freeze_vision_tower=True)
    assert any("multi_modal_projector" in name for name in steps[0].gradients)
    assert not made.policy._features._vision[id(made.model)].is_fixed
    assert not made.policy._features._known


# ---- a run ---------------------------------------------------------------------------------


def test_thirty_steps_of_the_digits_have_the_same_losses_packed_or_not(tiny_model, tmp_path):
    rows = mixed_rows(8, live=tuple(range(8)))
    options = {"max_steps": 30, "learning_rate": 1e-5, "reward": Reward()}
    options |= {"recipe": "grpo", "steps_per_generation": 2}
    found = []
    for packing in ("on", "off"):
        made, _ = trained(tiny_model, rows, tmp_path, packing=packing, **options)
        found.append(logged(made, "loss"))
    assert len(found[0]) == 30
    assert found[0] == pytest.approx(found[1], abs=1e-4)


# ---- the check at the start ----------------------------------------------------------------


def off_by_one(monkeypatch):
    """Shifts the positions of responses by one."""

    def moved(position_SP, pack):
        positions = _placed(position_SP, pack).clone()
        positions[..., pack.prefix + 1 :] += 1
        return positions

    monkeypatch.setattr("vantage.training.trl.packing._placed", moved)


WEIGHTS = {
    "32 bits": {},
    "32 bits, computed in 16": {"bf16": True},
    "16 bits": {"bf16": True, "model_init_kwargs": {"dtype": "bfloat16"}, "learning_rate": 1.0},
}


@pytest.mark.parametrize("options", WEIGHTS.values(), ids=WEIGHTS)
def test_off_by_one_positions_in_packs_are_detected(options, tiny_model, tmp_path, monkeypatch):
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, packing="on", **options)
    assert made.policy.packing.works is True
    off_by_one(monkeypatch)
    with pytest.raises(EngineError, match="it is not exact here: log-probs differ by up to"):
        trained(tiny_model, mixed_rows(4), tmp_path, packing="on", **options)


@pytest.mark.parametrize(
    ("largest", "mean", "noise", "dtype", "works"),
    [
        (9e-5, 9e-6, 0.0, torch.float32, True),
        (4e-4, 4e-5, 3e-5, torch.float32, True),  # a large model
        (4e-4, 4e-5, 0.0, torch.float32, False),
        (2e-3, 3e-4, 1e-2, torch.float32, False),  # noise is no excuse in 32 bits
        (1e-9, 1e-10, 0.0, torch.float64, True),
        (1e-5, 1e-6, 0.0, torch.float64, False),
        (0.3, 0.008, 0.004, torch.bfloat16, True),
        (0.3, 0.021, 0.004, torch.bfloat16, False),
        (0.3, 0.021, 0.0, torch.bfloat16, False),
        (0.9, 0.06, 0.05, torch.bfloat16, False),
        (0.01, 0.001, 0.0, torch.float16, True),
        (math.nan, math.nan, 0.0, torch.bfloat16, False),
    ],
)
def test_only_rounding_differences_allow_packing(largest, mean, noise, dtype, works):
    found = Packing("auto")
    found.judge(Difference(largest, mean, noise), dtype)
    assert found.works is works


@pytest.mark.parametrize(
    ("bf16", "expected"), [(False, [torch.float32]), (True, [torch.float32, torch.bfloat16])]
)
def test_packs_are_judged_in_float32_and_in_the_precision_of_training(
    bf16, expected, tiny_model, tmp_path, monkeypatch
):
    judged, judge = [], Packing.judge

    def noting(self, found, dtype):
        judged.append(dtype)
        judge(self, found, dtype)

    monkeypatch.setattr(Packing, "judge", noting)
    made, _ = trained(tiny_model, mixed_rows(4), tmp_path, bf16=bf16, packing="auto")
    assert judged == expected
    assert made.policy.packing.works is True
