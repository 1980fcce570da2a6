"""A tiny model whose responses have many lengths."""

import shutil

import pytest


@pytest.fixture(scope="session")
def ragged_model(tiny_model, tmp_path_factory):
    """The tiny model with a fifth of its words ending a response."""
    from transformers import AutoTokenizer, GenerationConfig

    directory = tmp_path_factory.mktemp("ragged") / "model"
    shutil.copytree(tiny_model, directory)
    words = AutoTokenizer.from_pretrained(tiny_model)
    ends = [words.eos_token_id, *range(20, len(words), 5)]
    GenerationConfig(eos_token_id=ends, pad_token_id=words.pad_token_id).save_pretrained(directory)
    return str(directory)
