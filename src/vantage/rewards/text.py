"""Parsing of responses: the text, the part after the thoughts, and the final answer."""

import re
from collections.abc import Mapping, Sequence

THINK, THOUGHT = "<think>", "</think>"
TAIL = 2_000  # characters at the end of a response that are searched for an unboxed answer

BOXES = ("\\boxed", "\\fbox", "\\framebox")
BEGINNING = re.compile(r"\\(?:boxed|fbox|framebox)\s*(\{)?")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
UNBRACED = re.compile(r"-?(?:\d[\d.,/]*\d|\d)|[A-Za-z](?![A-Za-z])")
ANSWER_TAG = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)

# Emphasis, headings, bullets (but not a minus sign: "- 5"), HTML tags and check marks.
MARKDOWN = re.compile(
    r"\*\*|__(?=\S)|(?<=\S)__|^[^\S\n]*#{1,6} |`|^[^\S\n]*(?:[*•>]|-(?= [^\d\s\\$.])) "
    r"|</?(?:b|i|u|em|strong)>|<br ?/?>|[✅✔✓☑🎉∎■]\ufe0f?",
    re.MULTILINE,
)
DISPLAY = re.compile(r"(?:\\\[|\$\$)\s*((?:(?!\\\[|\$\$).)+?)\s*(?:\\\]|\$\$)", re.DOTALL)
EMPHASIS = re.compile(r"(?<![\w*])\*(?!\s)([^*\n]+)(?<!\s)\*(?![\w*])")
# Phrases before an answer, the clearest first. The answer is on the same line or on the next.
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
# The start of an explanation after an answer.
EXPLANATION = re.compile(
    r"(?<=[^\s.][^\s.])\. +(?=[A-Z](?:[a-z]| [a-z]))|,? (?:because|since|for the reason)\b"
)


def text(completion: str | Sequence[Mapping]) -> str:
    """Return a completion of TRL, a string or a conversation, as a string."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)


def spoken(response: str) -> str:
    """Return the text after the thoughts; empty if the response was truncated while thinking."""
    said = response.rpartition(THOUGHT)[2]
    return said.partition(THINK)[0] if THINK in said else said


def boxed(response: str) -> str | None:
    r"""Return the content of the last `\boxed{...}` after the thoughts; None without a closed box.

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
    """Return the content, unboxed, of the last `<answer>` tags after the thoughts; None if none."""
    found = ANSWER_TAG.findall(spoken(response))
    if not found:
        return None
    inside = boxed(found[-1])
    return found[-1].strip() if inside is None else inside


def final(response: str) -> str | None:
    r"""Return the answer of a response, boxed or not, as benchmarks do; None if it has none.

    After the thoughts, the first of these that exists is the answer: the last `\boxed{...}`, the
    content of the last `<answer>` tags, the text after the last "answer is" or "answer:" on its
    line or the next, the last line.
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
    """Return the text after the last, clearest phrase that announces an answer; None if none."""
    for lead in LEADS:
        followed = [one.strip() for one in lead.findall(said)]
        followed = [one for one in followed if not NO_ANSWER.match(one)]
        if followed:
            return EXPLANATION.split(followed[-1])[0].strip()
    return None
