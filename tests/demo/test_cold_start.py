"""The cold start is cached, deterministic and atomic, and trains only the solutions."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from vantage.demo import cold_start as module
from vantage.demo import digits
from vantage.demo.cold_start import Settings, cold_start, encode, examples
from vantage.questions.schema import IMAGE
from vantage.questions.transforms import PUBLISHED, TRANSFORMS, Applied

TINY = Settings(n=48, steps=3, batch=8)
NOTES = {note: name for name in PUBLISHED for note in TRANSFORMS[name].wordings()}


def weights(directory) -> dict[str, torch.Tensor]:
    return AutoModelForImageTextToText.from_pretrained(directory).state_dict()


def alike(one, other) -> bool:
    pairs = zip(weights(one).values(), weights(other).values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return cold_start(tmp_path_factory.mktemp("cache"), settings=TINY)


@pytest.fixture
def no_training(monkeypatch):
    """Make training fail after the untrained model is written."""

    def fail(directory, seed, settings):
        module.model.build(directory, seed=seed)
        raise RuntimeError("killed")

    monkeypatch.setattr(module, "_train", fail)


def test_the_second_call_uses_the_cache(built, no_training):
    assert cold_start(built.parent, settings=TINY) == built


def test_the_same_seed_gives_the_same_model(built, tmp_path):
    torch.manual_seed(99)
    again = cold_start(tmp_path, settings=TINY)
    assert again.name == built.name
    assert alike(again, built)


def test_the_callers_random_state_is_unchanged(tmp_path):
    state = torch.get_rng_state()
    cold_start(tmp_path, settings=TINY)
    assert torch.equal(state, torch.get_rng_state())


def test_another_seed_gives_another_model(built):
    other = cold_start(built.parent, seed=1, settings=TINY)
    assert other != built
    assert not alike(other, built)


@pytest.mark.parametrize(
    "change",
    [{"k": 3}, {"n": 49}, {"altered": 0.5}, {"steps": 4}, {"batch": 9}, {"learning_rate": 2e-3}],
    ids=str,
)
def test_the_cache_key_depends_on_every_setting(change):
    assert module._key(0, replace(TINY, **change)) != module._key(0, TINY)


def test_a_killed_build_is_not_used(tmp_path, no_training, monkeypatch):
    monkeypatch.setattr(module.shutil, "rmtree", lambda *a, **k: None)  # SIGKILL skips the cleanup
    with pytest.raises(RuntimeError, match="killed"):
        cold_start(tmp_path, settings=TINY)
    assert any(tmp_path.iterdir())
    monkeypatch.undo()
    done = cold_start(tmp_path, settings=TINY)
    assert AutoProcessor.from_pretrained(done)
    assert ".building" not in done.name


def test_a_failed_build_leaves_nothing(tmp_path, no_training):
    with pytest.raises(RuntimeError, match="killed"):
        cold_start(tmp_path, settings=TINY)
    assert not list(tmp_path.iterdir())


def test_the_first_of_two_concurrent_builds_is_kept(tmp_path):
    first, second, target = tmp_path / "first", tmp_path / "second", tmp_path / "target"
    for directory in (first, second):
        directory.mkdir()
        (directory / "who").write_text(directory.name)
        module._publish(directory, target)
    assert (target / "who").read_text() == "first"


def test_the_model_loads_with_auto_classes(built):
    processor = AutoProcessor.from_pretrained(built)
    network = AutoModelForImageTextToText.from_pretrained(built)
    inputs = encode(processor, examples(TINY, seed=0)[:2])
    assert network(**inputs).loss.isfinite()


def test_training_lowers_the_loss(tmp_path):
    losses = []
    for steps in (0, 20):
        directory = cold_start(tmp_path, settings=replace(TINY, steps=steps, batch=16))
        network = AutoModelForImageTextToText.from_pretrained(directory)
        inputs = encode(AutoProcessor.from_pretrained(directory), examples(TINY, seed=0))
        losses.append(network(**inputs).loss.item())
    assert losses[1] < losses[0] - 1


def test_only_the_solution_is_trained(built):
    processor = AutoProcessor.from_pretrained(built)
    rows = examples(TINY, seed=0)
    inputs = encode(processor, rows)
    for label_T, ids_T, (_, solution) in zip(
        inputs["labels"], inputs["input_ids"], rows, strict=True
    ):
        trained = label_T != -100
        text = processor.tokenizer.decode(label_T[trained])
        assert text == solution + processor.tokenizer.eos_token
        assert torch.equal(label_T[trained], ids_T[trained])


def note_of(question) -> str:
    """Return the note before the wording; empty for an unchanged image."""
    text = question.text.removeprefix(IMAGE)
    wording = next(wording for wording in digits.WORDINGS if text.endswith(wording))
    return text.removesuffix(wording).strip()


def test_altered_images_have_a_note():
    notes = [note_of(question) for question, _ in examples(Settings(n=400), seed=0)]
    assert set(notes) == {*NOTES, ""}
    assert 0.22 < 1 - notes.count("") / len(notes) < 0.38


def test_the_note_describes_the_alteration():
    plain = examples(Settings(n=60, altered=0.0), seed=0)
    altered = examples(Settings(n=60, altered=1.0), seed=0)
    for (before, solution), (after, same) in zip(plain, altered, strict=True):
        assert solution == same
        assert note_of(before) == ""
        (image,) = after.images
        original = before.images[0].open()
        assert image.open().tobytes() != original.tobytes()
        if TRANSFORMS[NOTES[note_of(after)]].turn is not None:
            expected = Applied(NOTES[note_of(after)])(original)
            assert image.open().tobytes() == expected.tobytes()
