"""The load-balancing loss of mixtures of experts matches TRL in every forward."""

import hashlib

import numpy as np
import pytest
from datasets import Dataset
from families import experts
from training_cases import Reward, config, difference, trained
from trl import GRPOConfig, GRPOTrainer

from vantage import config as configuration
from vantage.errors import EngineError
from vantage.methods import advantages
from vantage.training.trl import VantageTrainer, run
from vantage.training.trl.policy import Limits, Policy

COMPARED = ("loss", "grad_norm", "reward", "entropy", "aux_loss")
ROWS = Dataset.from_dict({"prompt": [f"Add {n} + {n * n}." for n in range(8)]})


def answering():
    """A rollout function with responses of many lengths, the same for every trainer."""
    calls = []

    def rollout(prompts, trainer):
        calls.append(len(prompts))
        ids = [trainer.processing_class(prompt)["input_ids"] for prompt in prompts]
        return {
            "prompt_ids": ids,
            "completion_ids": [response(prompt, calls, n) for n, prompt in enumerate(prompts)],
            "logprobs": None,
        }

    return rollout


def response(prompt: str, calls: list, number: int) -> list[int]:
    digest = hashlib.sha256(f"{prompt} {len(calls)} {number}".encode()).digest()
    return [20 + value % 200 for value in digest[: 1 + digest[0] % 6]]


def history(kind, arguments, **options):
    """What a trainer logs of each update."""
    model, words = experts()
    rest = {"processing_class": words, "rollout_func": answering()}
    made = kind(model, Reward(), arguments(**options), ROWS, **rest)
    made.train()
    lines = [line for line in made.state.log_history if "loss" in line]
    return np.array([[line.get(name, np.nan) for name in COMPARED] for line in lines])


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.mark.parametrize(
    "options",
    [{}, {"router_aux_loss_coef": 0.3}, {"num_iterations": 2, "loss_type": "grpo"}],
    ids=str,
)
def test_load_balancing_loss_matches_trl(options, tmp_path, monkeypatch):
    monkeypatch.setattr(advantages, "EPSILON", 1e-4)  # that of TRL
    given = {"steps_per_generation": 1, "router_aux_loss_coef": None, "max_steps": 4, **options}

    def ours(**options):
        return config(tmp_path, **options)

    def theirs(**options):
        plain = config(tmp_path, **options).to_dict()
        known = GRPOConfig.__dataclass_fields__
        named = {name: value for name, value in plain.items() if name in known}
        return GRPOConfig(**{**named, "generation_batch_size": None})

    expected = history(GRPOTrainer, theirs, **given)
    assert expected.shape == (4, len(COMPARED))
    assert history(VantageTrainer, ours, **given) == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_load_balancing_forwards_mix_questions_evenly():
    policy = Policy(None, rows=4, balances=True)
    parts = policy.cut(None, [(0, rollout) for rollout in range(10)], Limits(0, (0, 0)))
    assert [part.tolist() for part in parts] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


def test_sample_weights_do_not_change_load_balancing(tmp_path):
    """A mean over rows is scaled where forwards have different numbers of them; this is not."""
    options = {"loss_type": "grpo", "per_device_train_batch_size": 3, "num_generations": 4}
    sizes = {"steps_per_generation": 4, "gradient_accumulation_steps": 4}
    model, words = experts()
    made, steps = trained(
        model,
        ROWS,
        tmp_path,
        router_aux_loss_coef=0.3,
        rest={"processing_class": words},
        reward=lambda completions, **columns: [1.0] * len(completions),
        **options,
        **sizes,
    )
    balance = [line["aux_loss"] for line in made.state.log_history if "aux_loss" in line]
    assert steps[0].loss == pytest.approx(0.3 * balance[0], rel=1e-6)
    assert difference(steps[0].gradients, {}) > 0


def test_load_balancing_disables_packing(tmp_path, caplog):
    model, words = experts()
    rest = {"processing_class": words}
    VantageTrainer(model, Reward(), config(tmp_path, router_aux_loss_coef=None), ROWS, **rest)
    assert "packing is off" in caplog.text and "router_aux_loss_coef=0" in caplog.text
    with pytest.raises(EngineError, match=r"packing='on'.*the load-balancing loss of experts"):
        args = config(tmp_path, router_aux_loss_coef=None, packing="on")
        VantageTrainer(experts()[0], Reward(), args, ROWS, **rest)


@pytest.mark.parametrize("given", [{}, {"router_aux_loss_coef": 0.02}], ids=str)
def test_configuration_disables_load_balancing_loss_with_a_warning(
    given, tmp_path, monkeypatch, caplog
):
    model, words = experts()
    for part in (model, words):
        part.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(run, "rows_of", lambda *_: (ROWS, None))
    monkeypatch.setattr(run, "reward_of", lambda name, judge: Reward())
    made = run.build(
        configuration.parse(
            {
                "model": {"path": str(tmp_path / "model"), "dtype": "float32"},
                "data": {"train": "data.parquet"},
                "run": {"output": str(tmp_path / "run"), "batches": 1},
                "batch": {"questions": 2, "rollouts": 4},
                "trl": {"use_cpu": True, **given},
            }
        )
    )
    assert made.aux_loss_enabled == bool(given)
    said = "load-balancing loss of this model's experts is disabled" in caplog.text
    assert said == (not given)
    assert ("trl.router_aux_loss_coef: 0.05 enables it" in caplog.text) == said


def test_masked_responses_do_not_change_load_balancing(tmp_path):
    """All are cut off; a mean over the tokens of a forward has none then."""
    model, words = experts()
    model.generation_config.eos_token_id = None
    options = {"loss_type": "bnpo", "mask_truncated_completions": True, "max_completion_length": 1}
    made, steps = trained(
        model,
        ROWS,
        tmp_path,
        router_aux_loss_coef=0.3,
        rest={"processing_class": words},
        **options,
    )
    (clipped,) = [
        line["completions/clipped_ratio"] for line in made.state.log_history if "reward" in line
    ]
    assert clipped == 1.0
    assert all(0.3 * 1.8 < step.loss < 0.3 * 2.6 for step in steps)  # two of four experts a token
