"""Every family with its stock processor: what works, and the table of it in docs/models.md."""

import contextlib
import functools
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import stock
import torch
from by_hand import Hand
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from test_update import HIGHER, Case, agree, occurrences, planned
from training_cases import difference, mixed_rows, trained
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    ProcessorMixin,
)

from vantage import decoding
from vantage.errors import ConfigError, EngineError
from vantage.evaluation import generation
from vantage.evaluation.generation import generate
from vantage.evaluation.models import Loaded
from vantage.evaluation.sampling import Sampling
from vantage.questions.schema import read
from vantage.training.towers import VISION_TOWERS
from vantage.training.trl.vllm import as_saved

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
# What tests/with_vllm measures, in another environment, beside the cells below.
BESIDE = "sampler = trainer"
BESIDES = json.loads(Path(__file__).with_name("sampler.json").read_text(encoding="utf-8"))
BEGIN, END = "<!-- measured by tests/models -->", "<!-- end -->"


class Family:
    """A model of a family in an ordinary directory, with the processor of its kind."""

    def __init__(self, name: str):
        model, self.made = stock.FAMILIES[name]()
        self.kind = type(model)
        self.path = tempfile.mkdtemp()
        model.save_pretrained(self.path)
        self.made.save_pretrained(self.path)
        self.sees = isinstance(self.made, ProcessorMixin)
        self.chooses = any(name.endswith("experts") for name, _ in model.named_modules())
        self.auto = AutoModelForImageTextToText if self.sees else AutoModelForCausalLM

    def rows(self, questions: int, live=(0, 1, 2, 3)):
        """With 1, 0, 2, 0 images, or without any where the family reads text alone."""
        rows = mixed_rows(questions, live)
        return rows if self.sees else rows.remove_columns("images")

    def trained(self, tmp_path, **options):
        return trained(self.path, self.rows(4), tmp_path, **options)

    def as_by_hand(self, case: Case, tmp_path, close: float = 1e-5, **options):
        """A run whose updates are those that plain transformers compute, row by row."""
        case.rows = self.rows
        trainer, steps = case.run(self.path, tmp_path, **options)
        by_update = planned(trainer)
        clipped = agree(steps, by_update, case.objective, Hand.load(self.path), close)
        assert any(step.gradients for step in steps)
        return trainer, occurrences(trainer, by_update, clipped)


@contextlib.contextmanager
def by_transformers():
    """Within the context, evaluation generates with the decoding method of transformers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "can_decode", lambda model: False)
        yield


# ---- cells ---------------------------------------------------------------------------------


def loads(family: Family, tmp_path) -> str:
    model, processor = family.auto.from_pretrained(family.path), Hand.load(family.path).processor
    assert type(model) is family.kind
    assert type(processor) is type(family.made)
    assert type(processor).__module__.startswith("transformers.")
    if family.sees:
        assert not type(processor.image_processor).__name__.endswith("Pil")
    return "yes"


def generates(family: Family, tmp_path) -> str:
    """Responses to prompts in one batch are those of `generate` to each prompt by itself."""
    model = family.auto.from_pretrained(family.path)
    for name, weights in model.named_parameters():  # or pictures would hardly be seen
        if any(part in name for part in ("projector", "merger", "connector")):
            weights.data *= 20
    loaded = Loaded("", model, AutoProcessor.from_pretrained(family.path), "")
    one, none, two, other = map(read, family.rows(4))
    seeing, blind = [one, two, replace(two, images=two.images[::-1])], [none, other]
    for together in (seeing, blind):
        with by_transformers():
            greedy = [generate(loaded, [one], Sampling(1, 0.0, 6, 0))[0][0] for one in together]
        assert decoding.can_decode(model)
        drawn = generate(loaded, together, Sampling(2, 1e-5, 6, 0))
        assert drawn == [[response, response] for response in greedy]
    return "yes"


def grpo(family: Family, tmp_path) -> str:
    case = Case("grpo", 2, questions=4, live=(0, 2, 3))
    _, seen = family.as_by_hand(case, tmp_path, learning_rate=0.1)
    assert seen >= ({"images", "clip"} if family.sees else {"clip"})
    return "yes"


def shuffle_r1(family: Family, tmp_path) -> str:
    recipe = {"name": "shuffle-r1", "rounds": 4}
    _, seen = family.as_by_hand(Case(recipe, 2, questions=8, accumulation=2), tmp_path)
    assert "repeats" in seen
    return "yes"


def share_grpo(family: Family, tmp_path) -> str:
    case = Case("share-grpo", 2, questions=4, live=(0, 2, 3), prompts=2, accumulation=4)
    case.objective = HIGHER
    _, seen = family.as_by_hand(case, tmp_path)
    assert seen >= {"shared", "weights"}
    return "yes"


def images_of(numbers: tuple[int, ...]):
    """A cell: every question of a batch has the images of these rows."""

    def cell(family: Family, tmp_path) -> str:
        if not family.sees:
            return "-"
        rows = family.rows(8, live=range(8)).select(numbers)
        case = Case("grpo", 1, questions=len(numbers))
        everything = family.rows
        try:
            family.rows = lambda *_: rows
            trainer, _ = family.as_by_hand(case, tmp_path)
        finally:
            family.rows = everything
        counts = {row.images for row in planned(trainer)[0]}
        assert counts == {len(rows[0]["images"])}
        return "yes"

    return cell


def packed(family: Family, tmp_path) -> str:
    _, alone = family.trained(tmp_path, packing="off")
    try:
        made, together = family.trained(tmp_path, packing="on")
    except EngineError as error:
        made, together = family.trained(tmp_path, packing="auto")
        assert made.policy.packing.works is False
        assert difference(together[0].gradients, alone[0].gradients) < 1e-5
        why = str(error).removeprefix("packing='on', but it is not exact here: ")
        return f"row by row: {why.removesuffix('; set it to ' + repr('auto'))}"
    assert made.policy.packing.works is True
    assert difference(together[0].gradients, alone[0].gradients) < 1e-5
    return "yes"


def lora(family: Family, tmp_path) -> str:
    """Adapters alone train; saved, merged and loaded by plain transformers it is that model."""
    adapters = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")
    made, steps = family.trained(tmp_path, rest={"peft_config": adapters}, learning_rate=0.3)
    assert steps[0].gradients and all("lora_" in name for name in steps[0].gradients)
    made.save_model(str(tmp_path / "adapters"))
    base = family.auto.from_pretrained(family.path)
    merged = PeftModel.from_pretrained(base, tmp_path / "adapters").merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    alone = family.auto.from_pretrained(tmp_path / "merged")
    assert type(alone) is family.kind
    ids = torch.arange(20, 30)[None]
    before = family.auto.from_pretrained(family.path)(ids).logits
    with torch.no_grad():
        expected, found = (m.eval()(input_ids=ids).logits for m in (made.model, alone))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, before, rtol=1e-3, atol=1e-3)
    return "yes"


def checkpointed(family: Family, tmp_path) -> str:
    _, plain = family.trained(tmp_path)
    made, again = family.trained(tmp_path, gradient_checkpointing=True)
    assert made.model.is_gradient_checkpointing
    assert difference(again[0].gradients, plain[0].gradients) < 1e-5
    return "yes"


def frozen(family: Family, tmp_path) -> str:
    if not family.sees:
        with pytest.raises(ConfigError, match="freeze_vision_tower"):
            family.trained(tmp_path, freeze_vision_tower=True)
        return "-"
    _, (free, *_) = family.trained(tmp_path)
    _, (held, *_) = family.trained(tmp_path, freeze_vision_tower=True)
    tower = {n for n in free.gradients if any(f".{part}." in n for part in VISION_TOWERS)}
    assert tower
    assert held.gradients.keys() == free.gradients.keys() - tower
    rest = {name: value for name, value in free.gradients.items() if name not in tower}
    assert difference(held.gradients, rest) < 1e-5
    return "yes"


def bf16(family: Family, tmp_path) -> str:
    """Computed in bfloat16, weights in float32: gradients as near as 8 bits come; a token that
    rounding sends to another expert has another gradient, by plain transformers too.
    """
    case = Case("grpo", 1, questions=4, live=(0, 1, 2, 3))
    family.as_by_hand(case, tmp_path, close=0.35 if family.chooses else 0.15, bf16=True)
    return "yes"


def saved(family: Family, tmp_path) -> str:
    made, _ = family.trained(tmp_path)
    made.save_model(str(tmp_path / "model"))
    again = family.auto.from_pretrained(tmp_path / "model")
    assert type(again) is family.kind
    assert type(AutoProcessor.from_pretrained(tmp_path / "model")) is type(family.made)
    expected = dict(made.model.named_parameters())
    start = dict(family.auto.from_pretrained(family.path).named_parameters())
    for name, value in again.named_parameters():
        assert torch.equal(value, expected[name]), name
    assert any(not torch.equal(start[name], expected[name]) for name in expected)
    return "yes"


CELLS = {
    "load": loads,
    "generate": generates,
    "`grpo`": grpo,
    "`shuffle-r1`": shuffle_r1,
    "`share-grpo`": share_grpo,
    "one image each": images_of((0, 4)),
    "several each": images_of((2, 6)),
    "none": images_of((1, 3)),
    "packed": packed,
    "LoRA, merged": lora,
    "gradient checkpointing": checkpointed,
    "frozen tower": frozen,
    "bf16": bf16,
    "saved, loaded": saved,
}
MEASURED: dict[tuple[str, str], str] = {}


@functools.cache
def family_of(name: str) -> Family:
    return Family(name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", stock.FAMILIES)
def test_a_family_does(name, cell, tmp_path):
    MEASURED[name, cell] = "no"
    MEASURED[name, cell] = CELLS[cell](family_of(name), tmp_path)


@pytest.mark.parametrize("name", stock.REFUSED)
def test_a_model_that_trl_scores_otherwise_than_it_generates_is_refused(name, tmp_path):
    make, why = stock.REFUSED[name]
    model, processor = make()
    rest = {"processing_class": processor}
    with pytest.raises(EngineError, match=why):
        trained(model, mixed_rows(4), tmp_path, rest=rest)


@pytest.mark.parametrize("name", [n for n in stock.FAMILIES if BESIDES[n] == "yes"])
def test_vllm_gets_weights_under_the_names_of_a_checkpoint(name):
    family = family_of(name)
    model = family.auto.from_pretrained(family.path)
    saved = {key for file in Path(family.path).glob("*.safetensors") for key in load_file(file)}
    handed = [
        key
        for name, parameter in model.named_parameters()
        for key, _ in as_saved(model, name, parameter)
    ]
    assert len(handed) == len(set(handed))
    assert set(handed) == saved


# ---- the table -----------------------------------------------------------------------------


def table(measured: dict[tuple[str, str], str]) -> str:
    """Families by what was tried; what needs more words than one stands below."""
    columns = [*CELLS, BESIDE]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    notes = []
    for name in stock.FAMILIES:
        found = [measured[name, column].partition(": ") for column in columns]
        lines.append(f"| {name} | " + " | ".join(short for short, _, _ in found) + " |")
        whys = zip(columns, found, strict=True)
        notes += [f"- {name}, {cell}: {short}, {why}" for cell, (short, _, why) in whys if why]
    return "\n".join([*lines, "", *notes, ""])


def test_the_table_of_the_docs_is_what_was_measured():
    expected = [(name, cell) for name in stock.FAMILIES for cell in CELLS]
    if set(expected) != set(MEASURED):
        pytest.skip("only some cells were run")
    MEASURED.update({(name, BESIDE): BESIDES[name] for name in stock.FAMILIES})
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    fresh = f"{before}{BEGIN}\n{table(MEASURED)}{END}{after}"
    PAGE.write_text(fresh, encoding="utf-8")
    assert page == fresh, "docs/models.md was not what was measured; it is now"
