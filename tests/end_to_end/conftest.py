"""Rows for several processes, and a model with untied embeddings."""

import pytest


def _with_images(rows, wanted):
    from datasets import Dataset

    kept = [{**row, "image": row["image"] if wanted(n) else None} for n, row in enumerate(rows)]
    return Dataset.from_list(kept, features=rows.features)


@pytest.fixture(scope="session")
def some_without_images(digit_rows):
    """Rows, every third without an image."""
    return _with_images(digit_rows, lambda n: n % 3)


@pytest.fixture(scope="session")
def few_with_images(digit_rows):
    """Every fifth with an image, and one of the last four, which validate."""
    return _with_images(digit_rows, lambda n: n % 5 == 0 or n == 36)


@pytest.fixture(scope="session")
def none_with_images(digit_rows):
    return _with_images(digit_rows, lambda n: False)


@pytest.fixture(scope="session")
def untied_model(tmp_path_factory, tiny_model):
    """Directory of the tiny model with an output embedding that is not that of the input.

    Its weights are numbers of bfloat16, as those of published models: DeepSpeed rounds to them.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    tied = AutoModelForImageTextToText.from_pretrained(tiny_model)
    settings = tied.config
    settings.tie_word_embeddings = settings.text_config.tie_word_embeddings = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = type(tied)(settings).bfloat16().float()
    model.generation_config = tied.generation_config
    directory = tmp_path_factory.mktemp("untied")
    model.save_pretrained(directory)
    AutoProcessor.from_pretrained(tiny_model).save_pretrained(directory)
    return str(directory)
