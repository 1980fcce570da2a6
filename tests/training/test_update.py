"""Updates of the trainer match a reference implementation with plain transformers."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import by_hand
import capped_tokens
import pytest
import torch
from by_hand import Hand, Objective, Row
from datasets import Dataset
from families import FAMILIES, qwen2, qwen3
from peft import LoraConfig
from training_cases import OtherEngine, Reward, difference, mixed_rows, trained, trainer
from trl import GRPOTrainer

TWO_PROMPTS = {"prompts": 2, "rewrites": "new_questions"}
CLOSE = 1e-5


@dataclass
class Case:
    """A run of one rollout batch, 4 rollouts a prompt, and the objective that it should have.

    Attributes:
        shows: what has to occur in the run, so that the case says something.
    """

    recipe: Any
    updates: int
    questions: int = 8
    live: tuple[int, ...] = (0, 3, 6)
    prompts: int = 1
    accumulation: int = 1
    objective: Objective = field(default_factory=Objective)
    options: dict = field(default_factory=dict)
    unscored: int = 0
    shows: str = ""
    rows: Callable[[int, tuple[int, ...]], Dataset] = mixed_rows

    @property
    def rollouts(self) -> int:
        return self.questions * self.prompts * 4

    def run(self, model, tmp_path, **options):
        forwards = self.updates * self.accumulation
        own = {
            "recipe": self.recipe,
            "reward": Reward(unscored=self.unscored),
            "variants": TWO_PROMPTS if self.prompts == 2 else None,
            "per_device_train_batch_size": self.rollouts // forwards,
            "gradient_accumulation_steps": self.accumulation,
            "steps_per_generation": forwards,
        }
        rows = self.rows(self.questions, self.live)
        return trained(model, rows, tmp_path, **{**own, **self.options, **options})


def planned(trainer) -> list[list[Row]]:
    """Rows of the plan by update, as the reward function saw their prompts and responses."""
    reward, samples, rollouts = (
        trainer.reward_funcs[0],
        trainer.batch.plan.of_rollouts,
        trainer.batch.plan.rollouts,
    )
    scored = [row for row, score in enumerate(reward.rewards) if score is not None]
    prompts = {p: reward.prompts[row] for p, row in zip(rollouts.prompt_N, scored, strict=True)}
    question = dict(zip(rollouts.prompt_N, rollouts.question_N, strict=True))
    # 1 / (n V^2): V prompts of the question, n rollouts a prompt, so n V rollouts in all.
    size = {p: sum(question[other] == question[p] for other in prompts) for p in prompts}
    asked = {p: int((rollouts.question_N == question[p]).sum()) for p in prompts}
    shares = trainer.session.recipe.shares
    weight = {p: 1 / (asked[p] * size[p]) if shares else 1.0 for p in prompts}
    columns = (samples.prompt_M, samples.rollout_M, samples.advantage_M, samples.padding_M)
    rows = [
        None
        if padding
        else Row(
            prompts[p],
            reward.responses[scored[r]],
            advantage,
            weight[p],
            own=p == rollouts.prompt_N[r],
            drawn_from=prompts[rollouts.prompt_N[r]],
        )
        for p, r, advantage, padding in zip(*columns, strict=True)
    ]
    updates, unit = trainer.args.updates, samples.unit_size
    cuts = [len(rows) // unit * number // updates * unit for number in range(updates + 1)]
    by_update = [rows[cuts[number] : cuts[number + 1]] for number in range(updates)]
    ends = trainer.eos_token_ids if trainer.args.mask_truncated_completions else range(10**6)
    kept = [
        [row for row in rows if row is not None and row.response[-1] in ends] for rows in by_update
    ]
    return kept * trainer.num_iterations


def occurrences(trainer, by_update: list[list[Row]], clipped: list[float]) -> set[str]:
    """What of interest happened in a run."""
    rows = [row for rows in by_update for row in rows]
    seen = [{(id(row.prompt), id(row.response)) for row in rows} for rows in by_update]
    happened = {
        "padding": trainer.batch.plan.of_rollouts.padding_M.any(),
        "repeats": any(len(a) < len(b) for a, b in zip(seen, by_update, strict=True)),
        "images": {row.images for row in rows} == {0, 1, 2},
        "lengths": len({len(row.response) for row in rows}) > 2,
        "shared": not all(row.own for row in rows),
        "clip": 0 < max(clipped) < 1,
        "weights": len({row.weight for row in rows}) > 1,
        "silent": any(row.advantage == 0 for row in rows),
    }
    return {name for name, it_did in happened.items() if it_did}


HIGHER = Objective(upper=0.3, cap=3.0)
SHUFFLE = {"name": "shuffle-r1", "rounds": 4}
SHARE_SHUFFLE = {"name": "share-shuffle", "rounds": 4}
CASES = {
    "grpo, one update": Case("grpo", 1, shows="images lengths silent"),
    "grpo": Case("grpo", 2, shows="images lengths silent clip"),
    "shuffle-r1, one update": Case(
        SHUFFLE, 1, questions=16, shows="images lengths repeats padding"
    ),
    "shuffle-r1": Case(
        SHUFFLE, 2, questions=16, accumulation=2, shows="images lengths repeats padding clip"
    ),
    "share-grpo, one update": Case(
        "share-grpo", 1, questions=4, prompts=2, shows="images lengths shared weights silent"
    ),
    "share-grpo": Case(
        "share-grpo",
        4,
        questions=4,
        prompts=2,
        accumulation=2,
        objective=HIGHER,
        shows="images lengths shared weights clip",
    ),
    "share-shuffle, one update": Case(
        SHARE_SHUFFLE,
        1,
        questions=9,
        live=(3, 6),
        prompts=2,
        shows="lengths shared weights repeats padding",
    ),
    "share-shuffle": Case(
        SHARE_SHUFFLE,
        2,
        questions=9,
        live=(3, 6),
        prompts=2,
        accumulation=3,
        objective=HIGHER,
        shows="lengths shared weights repeats padding clip",
    ),
    "dr-grpo": Case("dr-grpo", 2, objective=Objective(mean="constant"), shows="images clip"),
    "a mean over rows": Case(
        SHUFFLE,
        2,
        questions=16,
        accumulation=2,
        objective=Objective(mean="row"),
        options={"loss_type": "grpo"},
        shows="images padding clip",
    ),
    "the token mean of bnpo, shared": Case(
        "share-grpo",
        2,
        questions=4,
        prompts=2,
        accumulation=4,
        objective=HIGHER,
        options={"loss_type": "bnpo", "seed": 2},
        shows="images shared weights clip",
    ),
    "a mean over rows, shared": Case(
        "share-grpo",
        1,
        questions=4,
        prompts=2,
        objective=Objective(mean="row"),
        options={"loss_type": "grpo"},
        shows="images shared weights",
    ),
    "one ratio a response": Case(
        "grpo",
        2,
        objective=Objective(whole_ratio=True, lower=0.03, upper=0.04),
        options={"importance_sampling_level": "sequence", "epsilon": 0.03, "epsilon_high": 0.04},
        shows="images clip",
    ),
    "a reference": Case(
        "grpo", 2, accumulation=2, objective=Objective(kl=0.2), options={"beta": 0.2}
    ),
    "a reference, its divergence without the ratio": Case(
        "grpo",
        2,
        objective=Objective(kl=0.2, ratio_on_kl=False),
        options={"beta": 0.2, "use_bias_correction_kl": False},
    ),
    "cold sampling, responses without a score": Case(
        "share-grpo",
        2,
        questions=4,
        prompts=2,
        objective=Objective(temperature=0.7, upper=0.3, cap=3.0),
        options={"temperature": 0.7, "top_p": 0.9},
        unscored=3,
        shows="images shared weights",
    ),
    "cut responses left out": Case(
        "grpo", 2, options={"mask_truncated_completions": True}, shows="images"
    ),
    "turned and noisy images, shared": Case(
        "share-grpo",
        2,
        questions=4,
        objective=HIGHER,
        options={
            "variants": {
                "prompts": 2,
                "transforms": {"names": ["noise-50", "clockwise"], "probability": 1.0},
            },
            "per_device_train_batch_size": 16,
        },
        shows="images shared weights",
    ),
    "every row twice, padded": Case(
        "grpo",
        2,
        accumulation=4,
        options={"num_iterations": 2, "pad_to_multiple_of": 16},
        shows="images clip",
    ),
    "questions left out": Case({"name": "dapo-filter", "refills": 0}, 1, shows="images"),
}


def agree(
    steps, by_update: list[list[Row]], objective: Objective, hand: Hand, close: float = CLOSE
) -> list[float]:
    """Compare all updates with those by hand; the shares of tokens that the clip silenced."""
    clipped, then = [], steps[0].weights
    for step, rows in zip(steps, by_update, strict=True):
        expected = by_hand.update(hand, rows, objective, now=step.weights, then=then)
        assert step.loss == pytest.approx(expected.loss, rel=close, abs=close / 10)
        assert difference(step.gradients, expected.gradients) < close
        clipped.append(expected.clipped)
    return clipped


@pytest.mark.parametrize("packing", ["on", "off"])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_match_hand_computed_values(name, packing, ragged_model, tmp_path):
    case = CASES[name]
    trainer, steps = case.run(ragged_model, tmp_path, packing=packing)
    by_update = planned(trainer)
    assert len(steps) == len(by_update) == trainer.args.updates_per_rollout_batch
    clipped = agree(steps, by_update, case.objective, Hand.load(ragged_model))
    missing = set(case.shows.split()) - occurrences(trainer, by_update, clipped)
    assert not missing


def test_dual_clip_matches_hand_computed_values(ragged_model, tmp_path):
    # Closer to 1 than a recipe has it, so that so small a run comes there.
    options = {"delta": 1.21, "learning_rate": 0.1, "seed": 1}
    trainer, steps = CASES["grpo"].run(ragged_model, tmp_path, **options)
    by_update, hand = planned(trainer), Hand.load(ragged_model)
    agree(steps, by_update, Objective(cap=1.21), hand)
    with pytest.raises(AssertionError):  # or no token would have come there
        agree(steps, by_update, Objective(), hand)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "bnpo", "luspo"])
def test_dual_clip_bounds_the_ratio(loss_type, ragged_model, tmp_path, monkeypatch):
    options = {"loss_type": loss_type, "recipe": "share-grpo", "variants": TWO_PROMPTS}
    made = trainer(ragged_model, mixed_rows(4), tmp_path, **options)
    assert made.args.delta == 3.0
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    one = torch.ones(1, 1, dtype=torch.long)
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    inputs = dict.fromkeys(names, one) | {
        "old_per_token_logps": torch.zeros(1, 1),
        "num_items_in_batch": torch.tensor(made.args.steps_per_generation),
    }
    for dual_clip, ratio, advantage, loss, slope in capped_tokens.CASES:
        made.args.delta = dual_clip
        inputs["advantages"] = torch.tensor([advantage])
        now = torch.tensor([[ratio]]).log().requires_grad_()
        scored = now, torch.zeros(1, 1), None
        monkeypatch.setattr(
            made, "_get_per_token_logps_and_entropies", lambda *_, scored=scored, **__: scored
        )
        found = GRPOTrainer._compute_loss(made, made.model, inputs)
        found.backward()
        assert (found.item(), now.grad.item()) == pytest.approx((loss, slope))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_processor_matches_hand_computed_values(family, tmp_path):
    model, processor = FAMILIES[family]()
    hand = Hand(copy.deepcopy(model), processor)
    case = Case("share-grpo", 2, questions=4, live=(0, 2, 3), prompts=2, accumulation=4)
    trainer, steps = case.run(model, tmp_path, rest={"processing_class": processor})
    by_update = planned(trainer)
    clipped = agree(steps, by_update, HIGHER, hand)
    assert {"images", "shared", "weights"} <= occurrences(trainer, by_update, clipped)
    assert trainer.policy.packing.works is True


@pytest.mark.parametrize("family", [qwen2, qwen3])
def test_text_models_match_hand_computed_values(family, tmp_path):
    model, tokenizer = family()
    hand = Hand(copy.deepcopy(model), tokenizer)
    case = Case("grpo", 2, questions=4, live=(0, 1, 2), rows=texts)
    trainer, steps = case.run(model, tmp_path, rest={"processing_class": tokenizer})
    agree(steps, planned(trainer), case.objective, hand)
    assert "Add 3 + 4." in trainer._tokenizer.decode(trainer._encoder(1).ids)


def texts(questions: int, live: tuple[int, ...]) -> Dataset:
    return mixed_rows(questions, live).remove_columns("images")


# ---- another engine samples ----------------------------------------------------------------


def truncated(log_ratio):
    return log_ratio.exp().clamp(max=1.5)


def whole_or_nothing(log_ratio):
    ratio = log_ratio.sum().exp()
    return torch.where(ratio > 1.5, 0.0, ratio)


@pytest.mark.parametrize(
    ("mode", "corrected"),
    [("token_truncate", truncated), ("sequence_mask", whole_or_nothing)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sampler_correction_follows_the_response_under_every_prompt(
    mode, corrected, ragged_model, tmp_path
):
    case = Case("share-grpo", 2, questions=4, prompts=2, objective=HIGHER)
    options = {"vllm_importance_sampling_mode": mode, "vllm_importance_sampling_clip_max": 1.5}
    trainer, steps = case.run(ragged_model, tmp_path, kind=OtherEngine, **options)
    hand, by_update = Hand.load(ragged_model), planned(trainer)
    rows = [row for rows in by_update for row in rows]
    drawn = [replace(row, prompt=row.drawn_from) for row in rows]
    for row, old in zip(rows, hand.constants(steps[0].weights, drawn, 1.0), strict=True):
        row.correction = corrected(old - trainer.believed(row.response))
    agree(steps, by_update, HIGHER, hand)
    corrections = [row.correction for row in rows]
    assert 0 < sum(row.own for row in rows) < len(rows)
    assert min(float(c.min()) for c in corrections) < 1 < max(float(c.max()) for c in corrections)


# ---- however it is cut -------------------------------------------------------------------

UNEVEN = Case(SHARE_SHUFFLE, 2, questions=9, live=(3, 6), prompts=2)
CUTS = {"one by one": 1, "four": 4, "twelve, so 11 + 11 + 10": 12, "half": 18}
LOSSES = {
    "dr_grpo": {},
    "grpo": {},
    "bnpo": {},
    "sapo": {},
    "cispo": {"epsilon_high": 2.0},
    "vespo": {},
    "luspo": {"importance_sampling_level": "sequence"},
}


def gradients_in_forwards_of(rows, case, model, tmp_path, **options):
    """Gradients and losses of two updates, `rows` rows in a forward."""
    accumulation = case.rollouts // 2 // rows
    _, steps = case.run(
        model,
        tmp_path,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=2 * accumulation,
        **options,
    )
    return [step.gradients for step in steps], [step.loss for step in steps]


@pytest.fixture(scope="module")
def in_one_forward(ragged_model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    return gradients_in_forwards_of(36, UNEVEN, ragged_model, directory)


@pytest.mark.parametrize("rows", CUTS.values(), ids=CUTS)
def test_micro_batching_does_not_change_gradients(rows, in_one_forward, ragged_model, tmp_path):
    gradients, losses = gradients_in_forwards_of(rows, UNEVEN, ragged_model, tmp_path)
    assert losses == pytest.approx(in_one_forward[1], rel=CLOSE, abs=CLOSE / 10)
    for mine, whole in zip(gradients, in_one_forward[0], strict=True):
        assert difference(mine, whole) < CLOSE


@pytest.mark.parametrize("loss", LOSSES)
def test_micro_batching_does_not_change_any_loss_of_trl(loss, ragged_model, tmp_path):
    case = Case("grpo", 2, live=(0, 2, 3, 4, 6, 7), unscored=3)
    options = {"loss_type": loss, "packing": "off", **LOSSES[loss]}
    whole, whole_loss = gradients_in_forwards_of(16, case, ragged_model, tmp_path, **options)
    cut, cut_loss = gradients_in_forwards_of(8, case, ragged_model, tmp_path, **options)
    assert len(cut) == len(whole) == 2
    assert cut_loss == pytest.approx(whole_loss, rel=CLOSE, abs=CLOSE)
    for mine, other in zip(cut, whole, strict=True):
        assert 0 < difference(mine, other) < CLOSE


# ---- adapters ----------------------------------------------------------------------------

SCALE = 2.0  # lora_alpha / r
FRONT = "base_model.model."


def adapters(weights: dict[str, torch.Tensor]) -> Iterator[tuple[str, str, str]]:
    """Names of both halves of every adapter, and of what it adapts in the plain model."""
    for low in weights:
        if ".lora_A." in low:
            plain = low.removeprefix(FRONT).replace(".lora_A.default", "")
            yield low, low.replace(".lora_A.", ".lora_B."), plain


def merged(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the plain model, adapters added to what they adapt."""
    plain = {
        name.removeprefix(FRONT).replace(".base_layer", ""): value.double()
        for name, value in weights.items()
        if "lora_" not in name
    }
    for low, high, name in adapters(weights):
        plain[name] = plain[name] + SCALE * weights[high].double() @ weights[low].double()
    return plain


def through_adapters(gradients, weights) -> dict[str, torch.Tensor]:
    """Gradients of the adapters, from those of the weights that they are added to."""
    of = {}
    for low, high, name in adapters(weights):
        of[low] = SCALE * weights[high].double().T @ gradients[name]
        of[high] = SCALE * gradients[name] @ weights[low].double().T
    return of


def test_only_adapters_train_and_match_hand_computed_values(ragged_model, tmp_path):
    case = Case("grpo", 2, accumulation=2, objective=Objective(kl=0.2))
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=r".*language_model.*(q_proj|v_proj)")
    options = {"beta": 0.2, "learning_rate": 0.3, "rest": {"peft_config": lora}, "packing": "on"}
    trainer, steps = case.run(ragged_model, tmp_path, **options)
    hand, then = Hand.load(ragged_model), merged(steps[0].weights)
    for step, rows in zip(steps, planned(trainer), strict=True):
        of_plain = by_hand.update(hand, rows, case.objective, now=merged(step.weights), then=then)
        expected = through_adapters(of_plain.gradients, step.weights)
        assert step.loss == pytest.approx(of_plain.loss, rel=CLOSE, abs=CLOSE / 10)
        assert step.gradients.keys() == expected.keys()
        assert difference(step.gradients, expected) < CLOSE
    after = dict(trainer.model.named_parameters())
    frozen = [name for name in after if "lora_" not in name]
    assert all(torch.equal(steps[0].weights[name], after[name]) for name in frozen)
    assert trainer.ref_model is None
