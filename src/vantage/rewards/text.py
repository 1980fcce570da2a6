"""Reading a response: its text, what it says behind its thoughts, and the answer it ends with."""

import re
from collections.abc import Mapping, Sequence

THINK, THOUGHT = "<think>", "</think>"
TAIL = 2_000  # characters at the end of a response in which an answer without a box is looked for

BOXES = ("\\boxed", "\\fbox", "\\framebox")
BEGINNING = re.compile(r"\\(?:boxed|fbox|framebox)\s*(\{)?")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
UNBRACED = re.compile(r"-?(?:\d[\d.,/]*\d|\d)|[A-Za-z](?![A-Za-z])")
ANSWER_TAG = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)

# Marks of emphasis, headings, points of a list (not a sign: "- 5"), HTML, and ticks.
MARKDOWN = re.compile(
    r"\*\*|__(?=\S)|(?<=\S)__|^[^\S\n]*#{1,6} |`|^[^\S\n]*(?:[*•>]|-(?= [^\d\s\\$.])) "
    r"|</?(?:b|i|u|em|strong)>|<br ?/?>|[✅✔✓☑🎉∎■]\ufe0f?",
    re.MULTILINE,
)
DISPLAY = re.compile(r"(?:\\\[|\$\$)\s*((?:(?!\\\[|\$\$).)+?)\s*(?:\\\]|\$\$)", re.DOTALL)
EMPHASIS = re.compile(r"(?<![\w*])\*(?!\s)([^*\n]+)(?<!\s)\*(?![\w*])")
# What an answer follows, the clearest first; an answer stands on the same line or on the next.
LEADS = tuple(
    re.compile(rf"{lead}\s*[:：]?[^\S\n]*\n*[^\S\n]*([^\n]+)", re.I)
    for lead in (
        r"(?:\b(?:answer|ans)\b\s*(?:is|are|(?:would|should|must) be|:|=)|\bans\."
        r"|答案?\s*(?:是|为|:|：)|故选\s*[:：]?)",
        r"\b(?:option|choice|result|solution)\b\s*(?:is|:|=)",
        r"\bI?\s*(?:choose|chose|pick|select)\s+(?:option|choice)?",
    )
)
NO_ANSWER = re.compile(
    r"(?:as )?(?:follows|below|above|given by|obtained|found|that)\b|[^\w\s]*$", re.I
)
# Where an explanation begins behind an answer.
EXPLANATION = re.compile(
    r"(?<=[^\s.][^\s.])\. +(?=[A-Z](?:[a-z]| [a-z]))|,? (?:because|since|for the reason)\b"
)


def text(completion: str | Sequence[Mapping]) -> str:
    """The response as text, whether TRL hands over a text or a conversation."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)


def spoken(response: str) -> str:
    """What a response says behind its thoughts; nothing where it was cut off while it thought."""
    said = response.rpartition(THOUGHT)[2]
    return said.partition(THINK)[0] if THINK in said else said


def boxed(response: str) -> str | None:
    r"""What stands in the last `\boxed{...}` behind the thoughts; None without a whole one.

    `\fbox{5}`, `\boxed {5}` and `\boxed 5` are boxes too.
    """
    said = spoken(response)
    begun = BEGINNING.match(said, max(map(said.rfind, BOXES)) if "\\" in said else 0)
    if begun is None:
        return None
    if begun[1] is None:
        alone = UNBRACED.match(said, begun.end())
        return alone[0] if alone else None
    depth = 1
    for brace in BRACE.finditer(said, begun.end()):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return said[begun.end() : brace.start()].strip()
    return None


def tagged(response: str) -> str | None:
    """What the last `<answer>` tags behind the thoughts hold, out of its box; None without any."""
    found = ANSWER_TAG.findall(spoken(response))
    if not found:
        return None
    inside = boxed(found[-1])
    return found[-1].strip() if inside is None else inside


def final(response: str) -> str | None:
    r"""The answer of a response that may not box it, as benchmarks read it; None without one.

    Behind the thoughts: the last `\boxed{...}`; else what `<answer>` tags hold, what follows the
    last "answer is" or "answer:", on its line or the next, or the last line.
    """
    said = spoken(response)
    if any(box in said for box in BOXES):
        return boxed(said) or None
    said = said[-TAIL:].strip()
    in_tags = tagged(said)
    if in_tags is not None:
        return in_tags or None
    said = DISPLAY.sub(lambda maths: f"${' '.join(maths[1].split())}$", said)
    said = EMPHASIS.sub(r"\1", MARKDOWN.sub("", said)).strip()
    answer = _led(said)
    if answer is None:
        lines = said.splitlines()
        return lines[-1].strip() or None if lines else None
    return _led(answer) or answer or None  # "Final answer: the answer is 5"


def _led(said: str) -> str | None:
    """The answer that follows the clearest words for one, the last time; None without any."""
    for lead in LEADS:
        followed = [one.strip() for one in lead.findall(said)]
        followed = [one for one in followed if not NO_ANSWER.match(one)]
        if followed:
            return EXPLANATION.split(followed[-1])[0].strip()
    return None
