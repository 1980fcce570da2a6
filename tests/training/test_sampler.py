"""With `use_vllm`: what the engine reads is what is trained, and it is asked as it should be.

vLLM itself is in tests/with_vllm; here its engine is a stand-in that expands pictures as it does.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trl.generation.vllm_generation as generation
from families import FAMILIES
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from test_trainer import SHARE
from training_cases import config, mixed_rows, trainer
from transformers import ProcessorMixin

from vantage.errors import ConfigError, EngineError, InputError
from vantage.training import mismatch
from vantage.training.trl import encoder, vllm
from vantage.training.trl.rollout_batches import seed_generation

CORRECTED = {"vllm_importance_sampling_mode": "token_truncate"}
COLOCATED = {"use_vllm": True, "vllm_mode": "colocate", "packing": "off", **CORRECTED}


class Engine:
    """A stand-in for vLLM's `LLM` that expands placeholders and answers at random."""

    def __init__(self, processor, texts, longest):
        self.processor, self.texts, self.longest = processor, texts, longest
        self.ids = processor.tokenizer.convert_tokens_to_ids(list("0123456789"))
        self.asked, self.answered, self.pictures, self.seeds = [], [], [], []
        self.resets = {"prefix": 0, "pictures": 0}
        self.llm_engine = SimpleNamespace(
            reset_encoder_cache=lambda: self.count("pictures"),
            model_config=SimpleNamespace(dtype=torch.bfloat16, max_model_len=10**6),
        )

    def count(self, what):
        self.resets[what] += 1

    def reset_prefix_cache(self):
        self.count("prefix")

    def generate(self, prompts, sampling_params, use_tqdm):
        self.sampling = sampling_params
        self.seeds.append((np.random.randint(10**9), int(torch.randint(10**9, (1,)))))
        return [self.answer(prompt) for prompt in prompts]

    def answer(self, prompt):
        images = prompt.get("multi_modal_data", {}).get("image", [])
        images = images if isinstance(images, list) else [images]
        ids = prompt["prompt_token_ids"]
        if images and tuple(ids) in self.texts:
            text = self.texts[tuple(ids)]
            options = {"text": [text], "images": [images], "add_special_tokens": False}
            ids = self.processor(**options)["input_ids"][0]
        elif images:  # every token of a picture is taken for the placeholder of another
            picture = self.processor.image_token_id
            ids = [i for token in ids for i in [token] * (1 + (token == picture))]
        rng = np.random.default_rng(len(self.answered))
        answer = rng.choice(self.ids, size=rng.integers(1, self.longest + 1)).tolist()
        self.asked.append(list(ids))
        self.answered.append(answer)
        self.pictures.append(len(images))
        scored = [{token: SimpleNamespace(rank=1, logprob=-3.0)} for token in answer]
        output = SimpleNamespace(token_ids=answer, logprobs=scored)
        return SimpleNamespace(prompt_token_ids=ids, outputs=[output])


@pytest.fixture
def texts(monkeypatch):
    """What each prompt that vLLM is given says; in the trainer, the stand-in for vLLM."""
    known, written = {}, vllm.written

    def noting(processor, text):
        ids = written(processor, text)
        known[tuple(ids)] = text
        return ids

    def start(self):
        self.llm = Engine(self.processing_class, known, self.max_completion_length)
        self.llm.options = {"max_model_len": self.max_model_length}

    driver = SimpleNamespace(load_weights=lambda pairs: None)
    runner = SimpleNamespace(model_runner=SimpleNamespace(model=driver))
    monkeypatch.setattr(encoder, "written", noting)
    monkeypatch.setattr(vllm.Sampler, "_init_vllm", start)
    monkeypatch.setattr(vllm.Sampler, "_iter_named_params", lambda self: iter(()))
    monkeypatch.setattr(generation, "SamplingParams", SimpleNamespace, raising=False)
    return SimpleNamespace(known=known, runner=runner)


def quiet(monkeypatch):
    """The stand-in's log-probs are made up."""
    monkeypatch.setattr(mismatch, "judge", lambda *_, **__: None)


@pytest.mark.parametrize("name", FAMILIES)
def test_vllm_reads_the_trained_prompt(name, texts, monkeypatch, tmp_path):
    quiet(monkeypatch)
    model, processor = FAMILIES[name]()
    rest = {"processing_class": processor}
    rows = mixed_rows(4, live=(0, 1, 2, 3))
    made = trainer(model, rows, tmp_path, rest=rest, **COLOCATED, **SHARE)
    forwards, forward = [], made.policy.forward

    def noting(model, tokens_RT, seen_RT, keys, budget, **options):
        forwards.append((keys, tokens_RT, seen_RT))
        return forward(model, tokens_RT, seen_RT, keys, budget, **options)

    made.policy.forward = noting
    made.train()
    engine, own, shared = made.vllm_generation.llm, 0, 0
    for keys, tokens_RT, seen_RT in forwards:
        for (prompt, rollout), ids, mask in zip(keys, tokens_RT, seen_RT, strict=True):
            assert ids[mask.bool()].tolist() == engine.answered[rollout]
            asked = made._encoder(prompt).ids
            if made.batch.is_own((prompt, rollout)):
                assert asked == engine.asked[rollout]
                own += 1
            else:
                assert asked != engine.asked[rollout]
                shared += 1
    assert own and shared
    assert set(engine.pictures) == {0, 1, 2}
    assert engine.resets == {"prefix": 1, "pictures": 1}


@pytest.mark.parametrize("name", FAMILIES)
def test_prompt_mismatch_with_vllm_raises(name, texts, monkeypatch, tmp_path):
    model, processor = FAMILIES[name]()
    assert isinstance(processor, ProcessorMixin)
    made = trainer(
        model, mixed_rows(4), tmp_path, rest={"processing_class": processor}, **COLOCATED
    )
    encode = made._encoder.encode

    def expanded(prompt, shown=()):
        encoding = encode(prompt, shown)
        encoding.written = None
        return encoding

    made._encoder.encode = expanded
    family = model.config.model_type
    with pytest.raises(
        EngineError, match=f"vLLM reads a prompt of .* type '{family}'.*transformers"
    ):
        made.train()


def test_wrong_sampler_log_probs_end_the_run(texts, tmp_path):
    model, processor = FAMILIES["qwen2.5-vl"]()
    made = trainer(
        model, mixed_rows(4), tmp_path, rest={"processing_class": processor}, **COLOCATED
    )
    with pytest.raises(EngineError, match=r"differ by .* on average .* 'qwen2_5_vl'"):
        made.train()
    (logged,) = made._metrics["train"]["sampler/difference"]
    assert logged > 0.1


def test_mismatch_is_logged_without_correction_or_old_log_probs(texts, monkeypatch, tmp_path):
    quiet(monkeypatch)
    model, processor = FAMILIES["qwen2.5-vl"]()
    options = {
        **COLOCATED,
        "vllm_importance_sampling_correction": False,
        "gradient_accumulation_steps": 2,
        "max_steps": 5,
    }
    made = trainer(model, mixed_rows(4), tmp_path, rest={"processing_class": processor}, **options)
    made.train()
    lines = [line for line in made.state.log_history if "loss" in line]
    assert ["sampler/kl" in line for line in lines] == [True, True, True, False, False]
    assert all(math.isfinite(line["sampler/kl"]) for line in lines[:3])


def test_media_tokens_are_banned_in_addition_to_user_biases(texts, monkeypatch, tmp_path):
    quiet(monkeypatch)
    model, processor = FAMILIES["qwen2.5-vl"]()
    own = {"generation_kwargs": {"logit_bias": {5: 1.5}}}
    rest = {"processing_class": processor}
    made = trainer(model, mixed_rows(4), tmp_path, rest=rest, **COLOCATED, **own)
    made.train()
    media = {
        model.config.image_token_id,
        model.config.video_token_id,
        model.config.vision_start_token_id,
        model.config.vision_end_token_id,
    }
    bias = made.vllm_generation.llm.sampling.logit_bias
    assert bias == {5: 1.5, **dict.fromkeys(media, -100.0)}


@pytest.mark.parametrize("given", [None, 77])
def test_vllm_s_cache_has_room_for_prompt_and_response(given, texts, tmp_path):
    model, processor = FAMILIES["qwen2.5-vl"]()
    options = {**COLOCATED, "max_prompt_length": 60, "vllm_max_model_length": given}
    made = trainer(model, mixed_rows(4), tmp_path, rest={"processing_class": processor}, **options)
    assert made.vllm_generation.llm.options["max_model_len"] == (given or 66)


def test_validation_prompts_too_long_for_vllm_raise(texts, tmp_path):
    model, processor = FAMILIES["qwen2.5-vl"]()
    long = mixed_rows(4).map(
        lambda row: {"prompt": [{"role": "user", "content": "Add 3 + 4. " * 20}], "images": []}
    )
    rest = {"processing_class": processor, "eval_dataset": long}
    options = {**COLOCATED, "max_prompt_length": 60}
    with pytest.raises(InputError, match="prompts of 4 rows are longer"):
        trainer(model, mixed_rows(4), tmp_path, rest=rest, **options)


@pytest.mark.parametrize(
    ("tensor_parallel", "groups"), [(1, "0123"), (2, "0011"), (4, "0000")], ids=["1", "2", "4"]
)
def test_tensor_parallel_processes_share_a_seed(
    tensor_parallel, groups, texts, monkeypatch, tmp_path
):
    model, processor = FAMILIES["qwen2.5-vl"]()
    made = trainer(
        model, mixed_rows(4), tmp_path, rest={"processing_class": processor}, **COLOCATED
    )
    made.args.vllm_tensor_parallel_size = tensor_parallel

    def drawn(index):
        seed_generation(made.args, 0, index, 0)
        return np.random.randint(10**9), int(torch.randint(10**9, (1,)))

    draws = [drawn(index) for index in range(4)]
    for one, mine in zip(groups, draws, strict=True):
        assert [mine == other for other in draws] == [one == other for other in groups]


@pytest.mark.parametrize("caches", [True, False])
def test_missing_prefix_caching_is_logged(caches, monkeypatch, tmp_path, caplog):
    cache = SimpleNamespace(enable_prefix_caching=caches)
    engine = SimpleNamespace(
        vllm_config=SimpleNamespace(cache_config=cache),
        model_config=SimpleNamespace(dtype=torch.float32),
    )
    monkeypatch.setattr(
        generation.VLLMGeneration,
        "_init_vllm",
        lambda self: setattr(self, "llm", SimpleNamespace(llm_engine=engine)),
    )
    model, processor = FAMILIES["qwen2.5-vl"]()
    trainer(model, mixed_rows(4), tmp_path, rest={"processing_class": processor}, **COLOCATED)
    assert ("prefix caching is off for qwen2_5_vl" in caplog.text) is not caches


# ---- options -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"top_p": 0.99}, "top_p=0.99"),
        ({"top_k": 50}, "top_k=50"),
        ({"min_p": 0.1}, "min_p=0.1"),
        ({"top_p": 0.99, "vllm_importance_sampling_mode": "sequence_truncate"}, "top_p=0.99"),
        ({"top_p": 0.99, "vllm_importance_sampling_mode": "token_truncate"}, None),
        ({"top_p": 0.99, "vllm_importance_sampling_correction": False}, None),
        ({"top_p": 0.99, "use_vllm": False}, None),
        ({"top_p": 1.0, "top_k": -1, "min_p": 0.0}, None),
    ],
)
def test_sequence_correction_requires_the_full_vocabulary(options, refused, tmp_path):
    options = {"use_vllm": True, "vllm_mode": "colocate", **options}
    if refused is None:
        assert config(tmp_path, **options).use_vllm is options["use_vllm"]
        return
    with pytest.raises(ConfigError, match=f"{refused}.*vllm_importance_sampling_correction"):
        config(tmp_path, **options)


# ---- weights -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_reach_vllm_in_checkpoint_form(name, tmp_path):
    made, _ = FAMILIES[name]()
    made.save_pretrained(tmp_path)
    model = type(made).from_pretrained(tmp_path)
    handed = {
        key: value
        for name, parameter in model.named_parameters()
        for key, value in vllm.as_saved(model, name, parameter)
    }
    (file,) = tmp_path.glob("*.safetensors")
    saved = load_file(file)
    assert handed.keys() == saved.keys()
    for key, value in saved.items():
        assert torch.equal(handed[key], value)


# ---- adapters ------------------------------------------------------------------------------

ADAPTED = {
    "lora": ({}, ("weight",)),
    "alpha": ({"lora_alpha": 64}, ("weight",)),
    "dora": ({"use_dora": True}, ("weight",)),
    "bias": ({"lora_bias": True}, ("weight", "bias")),
    "saved whole": ({"modules_to_save": ["lm_head"]}, ("weight",)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("options", "kinds"), ADAPTED.values(), ids=ADAPTED)
def test_merged_weights_for_vllm_leave_the_base_bitwise_unchanged(options, kinds, dtype):
    base = FAMILIES["qwen2.5-vl"]()[0].to(dtype)
    plain = {name: p.detach().clone() for name, p in base.named_parameters()}
    spec = {"r": 4, "target_modules": r".*language_model.*(q_proj|v_proj)", **options}
    model = get_peft_model(base, LoraConfig(**spec))
    for p in filter(lambda p: p.requires_grad, model.parameters()):
        torch.nn.init.normal_(p, std=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    handed = {name: value.clone() for name, value in vllm.merged_parameters(model)}
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]), name
    expected = dict(model.merge_and_unload().named_parameters())
    for name, value in handed.items():
        assert torch.equal(value, expected[name]), name
    adapted = {
        f"model.language_model.layers.{layer}.self_attn.{module}.{kind}"
        for layer in (0, 1)
        for module in ("q_proj", "v_proj")
        for kind in kinds
    }
    if "modules_to_save" in options:  # tied to the words until it was saved whole
        adapted.add("lm_head.weight")
    assert handed.keys() == plain.keys() | adapted
    unequal = {n for n in handed if n not in plain or not torch.equal(handed[n], plain[n])}
    assert unequal == adapted
