"""Start of a run: model revision, trainable parameters, and the user's options."""

import shutil

import pytest
from huggingface_hub import constants
from peft import LoraConfig, PeftModel, get_peft_model
from training_cases import Reward, mixed_rows, trained, trainer
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedConfig,
)

from vantage import config as configuration
from vantage.checking.context import Context
from vantage.errors import ConfigError
from vantage.training.trl import run, trainable
from vantage.training.trl.loading import config_source, source
from vantage.training.trl.resolving import resolve

# ---- where files come from -------------------------------------------------------------------


@pytest.fixture
def hub(tiny_model, tmp_path, monkeypatch):
    """A name on the hub with two revisions, of which `v2` has one word more; all downloaded."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    place = tmp_path / "hub" / "models--us--tiny"
    for number, name in enumerate(("main", "v2")):
        commit = str(number) * 40
        shutil.copytree(tiny_model, place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / name).write_text(commit)
    newer = place / "snapshots" / ("1" * 40)
    words = AutoProcessor.from_pretrained(newer)
    words.tokenizer.add_tokens(["<newer>"])
    words.save_pretrained(newer)
    return "us/tiny"


def knows(processor) -> bool:
    return "<newer>" in processor.tokenizer.get_vocab()


def settings(model: str, output, **trl) -> configuration.Config:
    """A run of the configuration file; its data are never read."""
    return configuration.parse(
        {
            "model": {"path": model, "dtype": "float32"},
            "data": {"train": "data.parquet", "template": "{question}"},
            "run": {"output": str(output), "batches": 1},
            "batch": {"questions": 2, "rollouts": 4},
            "trl": {"use_cpu": True, **trl},
        }
    )


@pytest.mark.parametrize("revision", [None, "v2"])
def test_processor_has_the_revision_of_the_model(revision, hub, tmp_path):
    given = {"model_init_kwargs": {"revision": revision}} if revision else {}
    made = trainer(hub, mixed_rows(2), tmp_path, **given)
    assert knows(made.processing_class) == (revision == "v2")


@pytest.mark.parametrize("revision", [None, "v2"])
def test_configured_revision_applies_to_training_and_check(revision, hub, tmp_path, monkeypatch):
    given = {"model_init_kwargs": {"revision": revision}} if revision else {}
    config = settings(hub, tmp_path / "run", **given)
    monkeypatch.setattr(run, "rows_of", lambda *_: (mixed_rows(2), None))
    monkeypatch.setattr(run, "reward_of", lambda name, judge: Reward())
    assert knows(run.build(config).processing_class) == (revision == "v2")
    assert knows(Context(resolve(config)).model.processor) == (revision == "v2")


@pytest.mark.parametrize(
    ("options", "processor", "more"),
    [
        ({}, {"trust_remote_code": False}, {}),
        ({"trust_remote_code": True}, {"trust_remote_code": True}, {}),
        (
            {"model_init_kwargs": {"trust_remote_code": True, "dtype": "float32"}},
            {"trust_remote_code": True},
            {},
        ),
        (
            {"model_init_kwargs": {"revision": "v2", "token": "secret", "subfolder": "inside"}},
            {"trust_remote_code": False, "revision": "v2", "token": "secret"},
            {"subfolder": "inside"},
        ),
        (
            {"model_init_kwargs": {"cache_dir": "here", "local_files_only": True}},
            {"trust_remote_code": False, "cache_dir": "here", "local_files_only": True},
            {},
        ),
    ],
    ids=str,
)
def test_location_options_apply_to_processor_and_configuration(options, processor, more, tmp_path):
    args = run.arguments(settings("tiny", tmp_path, **options))
    assert source(args) == processor
    assert config_source(args) == processor | more


# ---- something to train ----------------------------------------------------------------------


def frozen(directory):
    return AutoModelForImageTextToText.from_pretrained(directory).requires_grad_(False)


def only_the_tower(directory):
    model = frozen(directory)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("vision_tower" in name)
    return model


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory):
    """Directory of an adapter."""
    place = tmp_path_factory.mktemp("adapter")
    model = AutoModelForImageTextToText.from_pretrained(tiny_model)
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(place)
    return place


@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize(
    ("make", "options"),
    [(frozen, {}), (only_the_tower, {"freeze_vision_tower": True})],
    ids=["all frozen", "all but what freeze_vision_tower freezes"],
)
def test_model_without_trainable_parameters_raises(make, options, beta, tiny_model, tmp_path):
    rest = {"processing_class": AutoProcessor.from_pretrained(tiny_model)}
    with pytest.raises(ConfigError, match=r"no parameter of Llava.* is trainable.*requires_grad"):
        trainer(make(tiny_model), mixed_rows(2), tmp_path, beta=beta, rest=rest, **options)


@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("trainable", [False, True])
def test_adapter_loaded_as_trainable_trains(trainable, beta, adapter, tiny_model, tmp_path):
    bare = AutoModelForImageTextToText.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(bare, adapter, is_trainable=trainable)
    rest = {"processing_class": AutoProcessor.from_pretrained(tiny_model)}
    options = {"beta": beta, "rest": rest, "gradient_checkpointing": False}
    if not trainable:
        with pytest.raises(ConfigError, match=r"no parameter of Peft.*is_trainable=True"):
            trainer(model, mixed_rows(2), tmp_path, **options)
        return
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    made, _ = trained(model, mixed_rows(2), tmp_path, per_device_train_batch_size=4, **options)
    changed = {
        n for n, p in made.model.named_parameters() if n in before and (p != before[n]).any()
    }
    assert changed and all(".default." in name for name in changed)


def test_frozen_adapter_as_model_raises(adapter, tiny_model, tmp_path, monkeypatch):
    """Beside a configuration transformers loads the model with the adapter, which it freezes."""
    shutil.copytree(adapter, tmp_path / "model")
    shutil.copytree(tiny_model, tmp_path / "model", dirs_exist_ok=True)
    monkeypatch.setattr(run, "rows_of", lambda *_: (mixed_rows(2), None))
    monkeypatch.setattr(run, "reward_of", lambda name, judge: Reward())
    with pytest.raises(ConfigError, match=r"no parameter of Llava.* is trainable.*model\.lora"):
        run.build(settings(str(tmp_path / "model"), tmp_path / "run"))


# ---- the user's own options of generation ----------------------------------------------------

IMAGE = 6  # id of <image> in the tiny tokenizer


@pytest.mark.parametrize("given", [[30, 31], [IMAGE], [], None], ids=str)
def test_user_and_media_tokens_are_both_suppressed(given, tiny_model, tmp_path):
    options = {"generation_kwargs": {"suppress_tokens": given, "bad_words_ids": [[40]]}}
    made = trainer(tiny_model, mixed_rows(2), tmp_path, **options)
    wanted = sorted({IMAGE, *(given or [])})
    for known in (made.generation_config.to_dict(), made.generation_kwargs):
        assert (known["suppress_tokens"], known["bad_words_ids"]) == (wanted, [[40]])


@pytest.mark.parametrize(
    "values, expected",
    [
        ({}, []),
        ({"image_token_id": 7, "video_token_id": None, "eos_token_id": 2}, [7]),
        ({"boi_token_id": 5, "eoi_token_id": 6, "image_token_id": 5}, [5, 6]),
        ({"image_start_token_id": 8, "video_end_token_id": 3}, [3, 8]),
        ({"image_token_id": 4, "visual_indicator_token_ids": [9, 1]}, [1, 4, 9]),
    ],
)
def test_media_ids_are_all_tokens_that_a_model_replaces(values, expected):
    assert trainable.media_ids(PreTrainedConfig(**values)) == expected


def test_suppressed_tokens_are_never_sampled(tiny_model, tmp_path):
    words = AutoTokenizer.from_pretrained(tiny_model)
    banned = [n for n in range(len(words)) if n % 2]
    made, _ = trained(
        tiny_model,
        mixed_rows(4),
        tmp_path,
        generation_kwargs={"suppress_tokens": banned, "begin_suppress_tokens": [20, 22]},
    )
    responses = made.reward_funcs[0].responses
    assert len(responses) == 16
    assert not any(set(banned) & set(ids) or ids[0] in (20, 22) for ids in responses)
