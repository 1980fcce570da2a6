"""Loading a model directory runs none of its code and fetches nothing that it names."""

import contextlib
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from unasked import guard

from vantage.errors import ConfigError
from vantage.evaluation import generation, models
from vantage.evaluation.sampling import Sampling
from vantage.questions.schema import read
from vantage.training.inputs import load_model

CODE = "from pathlib import Path\nPath({canary!r}).touch()\nclass C: pass\n"


def by_eval(path: str) -> None:
    models.load(path)


def by_training(path: str) -> None:
    load_model(path)


LOADERS = pytest.mark.parametrize("load", [by_eval, by_training])


@pytest.fixture
def theirs(tiny_model, tmp_path, monkeypatch):
    """A copy of a model, with code beside it; nothing runs it, asks the network, or a person."""
    folder, canary = tmp_path / "theirs", tmp_path / "canary"
    shutil.copytree(tiny_model, folder)
    for name in ("code.py", "custom_generate/generate.py", "modeling.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(CODE.format(canary=str(canary)))
    guard(monkeypatch, canary)
    monkeypatch.setattr("builtins.input", lambda *_: canary.touch() or "y")
    yield folder
    assert not canary.exists()


def change(folder: Path, name: str, **values) -> None:
    place = folder / name
    held = json.loads(place.read_text()) if place.exists() else {}
    place.write_text(json.dumps(held | values))


def refused(load, folder: Path, words: str = "cannot be loaded") -> None:
    with pytest.raises(ConfigError) as caught:
        load(str(folder))
    told = str(caught.value)
    assert words in told
    assert "Traceback" not in told
    assert len(told) < 1_000


AUTO = dict.fromkeys(
    ("AutoConfig", "AutoProcessor", "AutoModel", "AutoModelForCausalLM"), "code.C"
) | {"AutoTokenizer": ["code.C", "code.C"], "AutoImageProcessor": "code.C"}
ELSEWHERE = {name: "somebody/something--code.C" for name in AUTO if name != "AutoTokenizer"}


@LOADERS
@pytest.mark.parametrize("auto", [AUTO, ELSEWHERE], ids=["beside", "on the hub"])
def test_model_that_needs_custom_code_raises(theirs, load, auto):
    change(theirs, "config.json", auto_map=auto, model_type="of_theirs", architectures=["Theirs"])
    refused(load, theirs, "custom code (auto_map)")


@LOADERS
@pytest.mark.parametrize("auto", [AUTO, ELSEWHERE], ids=["beside", "on the hub"])
def test_unneeded_custom_code_is_ignored(theirs, load, auto):
    for name in ("config.json", "tokenizer_config.json", "processor_config.json"):
        change(theirs, name, auto_map=auto)
    load(str(theirs))


class Evil:
    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "adapter_model.bin"])
def test_pickled_code_in_weights_raises(theirs, tmp_path, name):
    for file in theirs.glob("*.safetensors"):
        file.unlink()
    if name == "pytorch_model.bin":
        torch.save({"weight": Evil(tmp_path / "canary")}, theirs / name)
    else:
        (theirs / name).write_bytes(pickle.dumps(Evil(tmp_path / "canary")))
    refused(by_eval, theirs)


BASES = {
    "an address": ("https://example.org/model", "expected a model"),
    "a chain": ("zip://a::https://example.org", "expected a model"),
    "a name on the hub": ("somebody/something", "run: hf download 'somebody/something'"),
    "no name": ("a/b/c/d", "is not on this machine"),
    "a home of nobody": ("~nobody-here/model", "is not on this machine"),
    "a number": (3, "expected a model"),
    "nothing": (None, "expected a model"),
    "a nul": ("a\0b", "expected a model"),
    "control characters": ("\x1b]8;;http://x\x07", "expected a model"),
}


@LOADERS
@pytest.mark.parametrize(("base", "words"), BASES.values(), ids=BASES)
def test_adapters_require_a_local_base_model(theirs, load, base, words):
    change(theirs, "adapter_config.json", base_model_name_or_path=base, peft_type="LORA", r=1)
    refused(load, theirs, words)


@LOADERS
def test_adapters_on_themselves_raise(theirs, load):
    change(theirs, "adapter_config.json", base_model_name_or_path=str(theirs), peft_type="LORA")
    refused(load, theirs, "is itself an adapter")


@LOADERS
@pytest.mark.parametrize("option", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["somebody/kernel", {"": "somebody/kernel@main:f"}])
def test_kernels_of_the_hub_raise(theirs, load, option, value):
    change(theirs, "config.json", **{option: value})
    refused(load, theirs, "code on the hub")


@LOADERS
def test_tokenizers_of_the_hub_raise(theirs, load):
    audio = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "some/body"}
    change(theirs, "processor_config.json", audio_tokenizer=audio)
    with contextlib.suppress(ConfigError):
        load(str(theirs))


DAMAGED = {
    "deep": "[" * 100_000,
    "a list": "[1]",
    "a text": '"a"',
    "half": '{"model_type": ',
    "no type": "{}",
    "no text": "\ud800".encode("utf-8", "surrogatepass"),
    "layers": '{"model_type": "llama", "num_hidden_layers": 1000000000}',
    "depth": '{"model_type": "qwen2_vl", "vision_config": {"depth": 1e12}}',
    "kinds": '{"model_type": "llama", "hidden_size": "many"}',
    "a strange type": '{"model_type": ["llama"]}',
}


@LOADERS
@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_damaged_configuration_raises(theirs, load, text):
    (theirs / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(load, theirs, "config.json" if "000000000" in str(text) or "1e12" in str(text) else "")


@LOADERS
@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        *("processor_config.json", "model.safetensors", "adapter_config.json", "merges.txt"),
        *("additional_chat_templates/a.jinja", "model.safetensors.index.json", "vocab.json"),
    ],
)
def test_fifo_does_not_block(theirs, load, name):
    (theirs / name).unlink(missing_ok=True)
    (theirs / name).parent.mkdir(exist_ok=True)
    os.mkfifo(theirs / name)
    refused(load, theirs, "is a FIFO")


WAYS = {
    "another way that needs code": {"dola_layers": "high"},
    "beams": {"num_beams": 1_000_000},
    "groups of beams": {"num_beam_groups": 2, "num_beams": 4, "diversity_penalty": 0.5},
    "constraints": {"constraints": [1]},
    "forced words": {"force_words_ids": [[[1]]], "num_beams": 2},
    "looking up": {"prompt_lookup_num_tokens": 3},
    "an assistant": {"is_assistant": True, "assistant_early_exit": 1},
    "another form": {"return_dict_in_generate": True, "output_scores": True},
    "stops": {"stop_strings": ["a"], "token_healing": True},
    "no bias": {"sequence_bias": {}},
    "a length": {"min_new_tokens": 10**6, "max_new_tokens": 10**9, "max_length": 10**9},
    "code on the hub": {"custom_generate": "some/body", "trust_remote_code": True},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_generation_config_of_a_model_is_ignored(theirs, way):
    change(theirs, "generation_config.json", **way)
    loaded = models.load(str(theirs))
    asked = read({"prompt": [{"role": "user", "content": "How many?"}]})
    ((first, second),) = generation.generate(loaded, [asked], Sampling(2, 1.0, 4, 0))
    assert max(first.tokens, second.tokens) <= 4


@pytest.mark.parametrize("tokens", ["x", [1, "x"], -5, 2**40, [[1]], 1.5])
def test_invalid_eos_token_raises(theirs, tokens):
    change(theirs, "generation_config.json", eos_token_id=tokens)
    refused(by_eval, theirs, "")


TWICE = "{% for a in range(99999) %}{% for b in range(99999) %}BODY{% endfor %}{% endfor %}"
ENDLESS = {
    "loops": TWICE.replace("BODY", "{{ b }}"),
    "silent loops": TWICE.replace("BODY", ""),
    "itself": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "text": "{{ 'a' * 100000000000 }}",
    "a list": "{{ ([0] * 100000000000) | length }}",
    "power": "{{ (9 ** 9) ** (9 ** 9) }}",
    "width": "{{ '%99999999999d' | format(1) }}",
    "doubled": "{% set n = namespace(t='a') %}{% for a in range(99) %}{% set n.t = n.t + n.t %}"
    "{% endfor %}{{ n.t }}",
}


@pytest.mark.parametrize("template", ENDLESS.values(), ids=ENDLESS)
def test_endless_template_raises(theirs, monkeypatch, template):
    monkeypatch.setattr("vantage.model_files.SECONDS", 1)
    monkeypatch.setattr("vantage.model_files.ROOM", 2**28)
    (theirs / "chat_template.jinja").write_text(template)
    if "macro" in template:  # which ends at the depth of Python, and writes nothing
        by_training(str(theirs))
    else:
        refused(by_training, theirs, "its chat template takes more than")


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch canary') }}",
    "{% include '/etc/passwd' %}",
    "{{ messages.__class__.__base__ }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_template_is_sandboxed(theirs, monkeypatch, tmp_path, template):
    monkeypatch.chdir(tmp_path)
    (theirs / "chat_template.jinja").write_text(template)
    by_training(str(theirs))
