"""Several prompts per question: the original first and the others drawn, all answerable."""

import math
from collections import Counter

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image
from pydantic import ValidationError

from vantage.questions import pictures
from vantage.questions.pictures import Picture
from vantage.questions.prompts import Prompts
from vantage.questions.reading import Reader
from vantage.questions.sampling import Asked
from vantage.questions.schema import Question, read, render
from vantage.questions.transforms import PUBLISHED, TRANSFORMS
from vantage.questions.variants import Fade, Transforms, Variants

IMAGE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
PICTURE = Picture(IMAGE)
QUESTION = Question("<image>How many?", (PICTURE,))
REWRITES = ["Count them.", "What is their number?", "Give the count."]
ALL = list(TRANSFORMS)


def transforms(names=ALL, probability=1.0, **options) -> Transforms:
    return Transforms(names=names, probability=probability, **options)


def expand(variants: Variants, question=QUESTION, rewrites=REWRITES, key=0, **options):
    rng = np.random.default_rng([7, key])
    return variants.expand(question, rng, rewrites=rewrites, **options)


def pixels(question: Question) -> list[bytes]:
    return [image.open().tobytes() for image in question.images]


def used(variants: Variants, question=QUESTION, **options) -> set[str]:
    """Names of the transforms used in many draws."""
    drawn = [expand(variants, question, [], key, **options)[-1] for key in range(200)]
    return {image.steps[-1].name for made in drawn for image in made.images if image.steps}


@pytest.mark.parametrize(
    "variants",
    [
        Variants(),
        Variants(prompts=2, rewrites="other"),
        Variants(prompts=4, rewrites="other", transforms=transforms()),
        Variants(prompts=3, transforms=transforms()),
    ],
    ids=str,
)
def test_expand_gives_count_prompts_and_the_original_first(variants):
    for key in range(10):
        prompts = expand(variants, key=key)
        assert len(prompts) == variants.prompts
        assert prompts[0] is QUESTION


# ---- all prompts drawn, as in the code of Share-GRPO ----------------------------------------

DRAWN = Variants(
    prompts=2, rewrites="other", transforms=transforms(probability=0.3), original=False
)


def bare(prompt: Question) -> str:
    """The wording of a prompt without the note of a transform."""
    texts = [QUESTION.text.removeprefix("<image>"), *REWRITES]
    return next(text for text in texts if prompt.text.endswith(text))


def test_wordings_are_drawn_uniformly_without_replacement():
    # 4 wordings, 2 prompts: each of the 12 ordered pairs has probability 1/12.
    drawn = Counter(tuple(map(bare, expand(DRAWN, key=key))) for key in range(2400))
    assert len(drawn) == 12 and all(one != other for one, other in drawn)
    assert sum((n - 200) ** 2 / 200 for n in drawn.values()) < 37.4  # chi-squared, p = 1e-4
    original = sum(n for pair, n in drawn.items() if "How many?" in pair)
    assert original / 2400 == pytest.approx(1 / 2, abs=4 * math.sqrt(1 / 4 / 2400))


def test_every_drawn_prompt_may_be_transformed():
    # Probabilities: 0.7 x 0.7 = 0.49 for none, 0.42 for one, 0.09 for both.
    changed = Counter(
        sum(bool(prompt.images[0].steps) for prompt in expand(DRAWN, key=key))
        for key in range(2400)
    )
    for transformed, chance in ((0, 0.49), (1, 0.42), (2, 0.09)):
        allowed = 4 * math.sqrt(chance * (1 - chance) / 2400)
        assert changed[transformed] / 2400 == pytest.approx(chance, abs=allowed)


@pytest.mark.parametrize(
    ("rewrites", "texts"),
    [
        ([], ["How many?"] * 3),
        (["Count them."], ["Count them.", "How many?"]),
        (["How many?", "Count them.", "Count them."], ["Count them.", "How many?"]),
        (["<image>How many?"], ["How many?"] * 3),
        (["A?", "B?", "C?", "D?"], None),
    ],
    ids=str,
)
def test_all_wordings_are_used_before_one_repeats(rewrites, texts):
    variants = Variants(prompts=3, rewrites="other", original=False)
    for key in range(20):
        drawn = [
            p.text.removeprefix("<image>") for p in expand(variants, rewrites=rewrites, key=key)
        ]
        if texts is None:
            assert len(set(drawn)) == 3 and set(drawn) <= {"How many?", *rewrites}
        elif len(set(texts)) == 1:
            assert drawn == texts
        else:
            assert sorted(drawn[:2]) == texts and drawn[2] == drawn[0]


def test_a_repeated_wording_has_its_own_transform():
    variants = Variants(prompts=2, transforms=transforms(["noise-25"]), original=False)
    one, other = expand(variants, rewrites=[])
    assert one.images[0].steps and other.images[0].steps
    assert pixels(one) != pixels(other)


def test_prompts_do_not_depend_on_other_questions_of_the_batch():
    rows = Dataset.from_dict(
        {"prompt": [f"What is {n}?" for n in range(4)], "other": [["A?", "B?", "C?"]] * 4}
    )
    variants = Variants(prompts=2, rewrites="other", original=False)
    one, other = (Prompts(Reader(rows), variants, seed=3) for _ in range(2))
    one.ask([Asked(2, 0), Asked(3, 1)])
    other.ask([Asked(0, 0), Asked(3, 1), Asked(2, 0)])
    assert [one.prompt(p).text for p in (0, 1, 2, 3)] == [
        other.prompt(p).text for p in (4, 5, 2, 3)
    ]


def test_prompts_are_determined_by_the_key():
    variants = Variants(prompts=4, rewrites="other", transforms=transforms())
    again = [[(p.text, pixels(p)) for p in expand(variants, key=key)] for key in (3, 3, 4)]
    assert again[0] == again[1]
    assert again[0] != again[2]


def test_rewrites_are_drawn_without_replacement_until_exhausted():
    texts = [p.text for p in expand(Variants(prompts=4, rewrites="other"))]
    assert sorted(texts[1:]) == sorted("<image>" + text for text in REWRITES)


def test_rewrites_are_drawn_uniformly():
    variants = Variants(prompts=2, rewrites="other")
    drawn = [expand(variants, key=key)[1].text for key in range(600)]
    shares = [drawn.count("<image>" + text) / 600 for text in REWRITES]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.08)


@pytest.mark.parametrize(
    ("rewrites", "objects"),
    [
        ([], [0, 0, 0, 0]),
        (["Count them."], [0, 1, 0, 1]),
        (["How many?"], [0, 0, 0, 0]),
        (["Count them.", "Count them."], [0, 1, 1, 0]),
        (["A?", "B?", "C?"], [0, 1, 2, 3]),
    ],
    ids=str,
)
def test_equal_prompts_are_the_same_object(rewrites, objects):
    prompts = expand(Variants(prompts=4, rewrites="other"), rewrites=rewrites)
    assert [[p is other for other in prompts].index(True) for p in prompts] == objects


def test_making_prompts_opens_no_image(monkeypatch):
    monkeypatch.setattr(pictures.Picture, "open", None)
    monkeypatch.setattr(pictures.Image, "open", None)
    question = Question("<image>How many?", (Picture(b"no picture at all"),))
    variants = Variants(prompts=8, rewrites="other", transforms=transforms())
    assert len({id(prompt) for prompt in expand(variants, question)}) == 8


def test_a_text_question_is_only_rewritten():
    variants = Variants(prompts=2, rewrites="other", transforms=transforms())
    _, other = expand(variants, Question("2 + 2?"), ["Two and two?"])
    assert other == Question("Two and two?")
    assert all(p.text == "2 + 2?" for p in expand(variants, Question("2 + 2?"), []))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_images_are_transformed_with_the_given_probability(probability):
    variants = Variants(prompts=2, transforms=transforms(probability=probability))
    prompts = [expand(variants, rewrites=[], key=key)[1] for key in range(500)]
    changed = [prompt is not QUESTION for prompt in prompts]
    assert np.mean(changed) == pytest.approx(probability, abs=0.07)


def test_one_note_describes_the_transform_of_all_images():
    question = Question("<image>A<image>B", (PICTURE, PICTURE))
    variants = Variants(prompts=2, transforms=transforms(["clockwise"]))
    notes = set()
    for key in range(30):
        _, turned = expand(variants, question, [], key)
        assert pixels(turned) == [IMAGE.transpose(Image.Transpose.ROTATE_270).tobytes()] * 2
        notes.add(turned.text.removeprefix("<image>").removesuffix(" A<image>B"))
    assert notes == set(TRANSFORMS["clockwise"].wordings(2))


def test_images_of_a_question_get_different_noise():
    question = Question("<image>A<image>B", (PICTURE, PICTURE))
    _, noisy = expand(Variants(prompts=2, transforms=transforms(["noise-25"])), question, [])
    assert len({*pixels(noisy), IMAGE.tobytes()}) == 3


def test_a_template_may_put_an_instruction_before_the_images():
    rows = Dataset.from_dict(
        {
            "prompt": [[{"role": "user", "content": "How many?"}]],
            "image": [IMAGE],
            "other": [["Count."]],
        }
    )
    variants = Variants(prompts=2, rewrites="other", transforms=transforms(["clockwise"]))
    prompts = Prompts(Reader(rows), variants, "Think.\n<image>\n{question}")
    prompts.ask([Asked(0, 0)])
    notes = TRANSFORMS["clockwise"].wordings()
    assert prompts.prompt(0).text == "Think.\n<image>\nHow many?"
    assert prompts.prompt(1).text in {f"Think.\n<image>\n{note} Count." for note in notes}
    longest = f"Think.\n<image>\n{max(notes, key=len)} How many?"
    assert prompts.longest(prompts.source(0)).text == longest


# ---- which transforms ----------------------------------------------------------------------


def test_the_published_set_is_the_default():
    assert used(Variants(prompts=2, transforms=Transforms(probability=1.0))) == set(PUBLISHED)


def test_transforms_that_could_change_the_answer_are_not_used():
    everything = Variants(prompts=2, transforms=transforms())
    assert used(everything) == set(ALL)
    noise = {"noise-10", "noise-25", "noise-50"}
    left = Question("<image>What is left of the tree?", (PICTURE,))
    assert used(everything, left) == noise
    assert used(everything, answer="on the left") == noise
    spelled = Question("<image>What does the sign say?", (PICTURE,))
    assert used(everything, spelled) == {*PUBLISHED, "mirror-and-flip"}


@pytest.mark.parametrize("allowed", [[], ["mirror"], ["clockwise", "flip"], None])
def test_a_row_may_list_its_allowed_transforms(allowed):
    variants = Variants(prompts=2, transforms=transforms(allowed="allowed"))
    left = Question("<image>What is left of the tree?", (PICTURE,))
    guarded = {"noise-10", "noise-25", "noise-50"}
    assert used(variants, left, allowed=allowed) == (guarded if allowed is None else set(allowed))
    few = Variants(prompts=2, transforms=transforms(["clockwise"]))
    assert used(few, left, allowed=allowed) == ({"clockwise"} & set(allowed or ()))


def test_noise_fades_during_training_and_the_note_follows():
    fade = Fade(midpoint=0.5, steepness=10.0)
    variants = Variants(prompts=2, transforms=transforms(["noise-50"], fade=fade))
    for done, factor in ((0.0, 1 / (1 + math.exp(-5))), (0.5, 0.5), (0.9, 1 / (1 + math.exp(4)))):
        _, prompt = expand(variants, rewrites=[], done=done)
        assert prompt.images[0].steps[-1].sigma == pytest.approx(50 * factor)
        assert f"{50 * factor:.3g}" in prompt.text


def test_fully_faded_noise_leaves_the_original_prompt():
    variants = Variants(prompts=2, transforms=transforms(["noise-10"], fade=Fade()))
    first, last = (expand(variants, rewrites=[], done=done)[1] for done in (0.0, 1.0))
    assert first is not QUESTION
    assert last is QUESTION


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prompts": 0}, "greater than or equal to 1"),
        ({"prompts": 2}, "nothing to vary"),
        ({"original": False}, "nothing to vary"),
        ({"prompts": 2, "transforms": {"names": []}}, "at least 1 item"),
        ({"prompts": 2, "transforms": {"names": ["turn"]}}, "unknown transform 'turn'"),
        ({"prompts": 2, "transforms": {"probability": 1.1}}, "less than or equal to 1"),
        ({"prompts": 2, "transforms": {"fade": {"steepness": 0}}}, "greater than 0"),
    ],
)
def test_invalid_options_are_rejected(values, words):
    with pytest.raises(ValidationError, match=words):
        Variants(**values)


def test_skips_and_variants_use_independent_random_streams():
    from vantage.questions.prompts import VARIANTS
    from vantage.questions.sampling import SKIPS

    keys = [[number, 0, 3, question] for number in (VARIANTS, SKIPS) for question in range(300)]
    drawn = np.array([np.random.default_rng(key).random() for key in keys]).reshape(2, 300)
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.2


def test_images_of_earlier_turns_are_transformed_and_noted():
    talk = [
        {"role": "user", "content": "See?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "How many?"},
    ]
    question = read({"prompt": talk, "images": [Image.new("RGB", (4, 2))] * 2})
    turned = Variants(prompts=2, transforms=transforms(["clockwise"]))
    _, other = turned.expand(question, np.random.default_rng(0))
    first, _, asked = render(other)
    assert [part["image"].size for part in first["content"][:2]] == [(2, 4)] * 2
    assert first["content"][2] == {"type": "text", "text": "See?"}
    (said,) = asked["content"]
    note = said["text"].removesuffix(" How many?")
    assert note in TRANSFORMS["clockwise"].wordings(2)


def test_words_of_user_turns_but_not_of_the_system_prompt_are_searched():
    rng, turned = np.random.default_rng, Variants(prompts=2, transforms=transforms(["clockwise"]))
    for role, guarded in (("user", True), ("system", False)):
        talk = [{"role": role, "content": "What is left of A?"}, {"role": "user", "content": "B?"}]
        question = read({"prompt": talk, "image": Image.new("RGB", (4, 2))})
        one, other = turned.expand(question, rng(0))
        assert (one is other) == guarded
