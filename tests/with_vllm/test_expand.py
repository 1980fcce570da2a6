"""A real vLLM server with a tiny random model, on a CPU: `make test-vllm`.

Such a model says nothing of use, so that every row must be kept, with a reason.
"""

import json
import os
import subprocess
import sys

import on_a_cpu
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Directory of a random Qwen2 with a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = str(tmp_path_factory.mktemp("qwen2"))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate(["<end>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", chat_template=TEMPLATE
    )
    wrapped.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=0,
        pad_token_id=0,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(model, tmp_path_factory):
    """Address of the server."""
    site = tmp_path_factory.mktemp("site")
    options = ["--served-model-name", "tiny", "--max-model-len", "1024"]
    with on_a_cpu.server(model, site, *options) as address:
        yield f"{address}/v1"


def expand(data, url, *more):
    command = [
        sys.executable,
        "-m",
        "vantage",
        "expand",
        data,
        "--output",
        data.with_name("out.parquet"),
    ]
    command += ["--base-url", url, "--rewrites", "2", "--timeout", "120", *more]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    return subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=400
    )


def test_every_row_is_kept_with_a_reason_and_all_tokens_count(url, tmp_path):
    questions = ["What is 2 + 2?", "How many cars are red?", "Find x if 2x = 8."]
    data = tmp_path / "rows.parquet"
    Dataset.from_dict({"prompt": questions, "answer": ["4", "3", "4"]}).to_parquet(data)
    ran = expand(data, url, "--model", "tiny")
    assert ran.returncode == 1, ran.stderr  # nothing could be expanded
    assert pq.read_table(tmp_path / "out.parquet").column("new_questions").to_pylist() == [[]] * 3
    lines = (tmp_path / "out.parquet.rejected.jsonl").read_text().splitlines()
    refused = [json.loads(line) for line in lines]
    assert {line["row"] for line in refused} == {0, 1, 2}
    assert all(line["reason"] for line in refused)
    answers = (tmp_path / "out.parquet.journal.jsonl").read_text().splitlines()
    assert 3 <= len(answers) <= 9
    assert all(json.loads(line)["prompt_tokens"] > 100 for line in answers)
    print(ran.stdout, *(line["reason"] for line in refused), sep="\n")
    again = expand(data, url, "--model", "tiny")
    assert [line.split()[3] for line in again.stdout.splitlines() if "requests" in line] == ["0"]


def test_a_model_that_the_server_does_not_have_stops_at_once(url, tmp_path):
    data = tmp_path / "rows.parquet"
    Dataset.from_dict({"prompt": ["Why?"], "answer": ["x"]}).to_parquet(data)
    ran = expand(data, url, "--model", "tinny")
    assert ran.returncode == 2
    assert "check the base URL" in ran.stderr
