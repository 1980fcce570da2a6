"""Answers in words: their canonical spelling, and the core of a sentence."""

from __future__ import annotations

import re

from vantage.rewards.expressions import expression

ORDINALS = {
    name: f"{n}{dict(enumerate(('st', 'nd', 'rd'), start=1)).get(n, 'th')}"
    for n, name in enumerate(
        str.split("first second third fourth fifth sixth seventh eighth ninth tenth"), start=1
    )
}
YES_OR_NO = re.compile(r"(yes|no|true|false)\b(?: ?[,.;:!]| - )", re.I)
JUDGEMENTS = re.compile(r"\b(?:yes|no|true|false)\b")
# Symbols are case-sensitive: AA and Aa, Co and CO differ.
SYMBOL = re.compile(r"(?![ivxIVX]+$)(?:(?:([A-Za-z])(?i:\1)){1,4}|[A-Za-z]{2,3})")
CAPITAL = re.compile(r"\\[A-Z][a-z]{1,6}")  # \Lambda differs from \lambda
# A letter used as a name: "Bar A is taller".
LETTER = re.compile(r"(?<![A-Za-z])[B-Z](?![A-Za-z'])|(?<=.)\bA\b|^A [a-z]{1,3}\b")
COMPOUND_WORD = re.compile(r"\b(north|south|counter|anti) (?=east|west|clockwise)")
PLACED = re.compile(r"^(?:in|on|at|to|by) (?=\w)")
SIDE = re.compile(r" (?:side|one|colou?r)$")
SENTENCE = re.compile(r"(?:[a-z']+ ){0,5}?[a-z']+ (?:is|are|was|were) (?:an? )?(.+)")
OF_ITSELF = re.compile(
    r"^(?:(?:it|they|this|that|these|there) (?:is|are|was|were)|its|theyre) (?=\w)"
)
NOT_SAID = re.compile(
    r"\b(?:no|not|none|nothing|never|neither|nor|nobody|hardly|if|whether|unless|or|and|but|what|"
    r"who|which|cannot|cant|isnt|arent|wasnt|werent|either|except|than|false|wrong|incorrect)\b"
)
NO_SOLUTION = "no solution"
SAYINGS = {
    **dict.fromkeys(("true", "是", "是的", "对", "对的", "正确"), "yes"),
    **dict.fromkeys(("false", "否", "错", "错误", "不是"), "no"),
    **dict.fromkeys(
        ("infinitely many solutions", "infinite solutions", "无数解", "无数个解", "无穷多解"),
        "infinitely many",
    ),
    **dict.fromkeys(("no solutions", "无解", "方程无解"), NO_SOLUTION),
}
PUNCTUATION = re.compile(r"[\"'`,;:!?.\\_{}]|(?:\b(?:[Tt]he|THE|[Aa]n|a)|^A)\s+(?=\w\w)")


def yes_or_no(text: str) -> str | None:
    """Return the yes, no, true or false that starts an answer; None if others follow."""
    found = YES_OR_NO.match(text)
    said = set(JUDGEMENTS.findall(text.casefold()))
    return found[1] if found and len(said) == 1 else None


def said_in(text: str) -> str:
    """Normalize words: no case or punctuation, and one spelling of synonyms."""
    if _is_symbol(text) or (CAPITAL.fullmatch(text) and text != "\\R"):
        return text
    parted = re.sub(r"(?<=[A-Za-z]{2}) ?- ?(?=[A-Za-z]{2})", " ", text)
    said = " ".join(PUNCTUATION.sub("", parted).casefold().split())
    said = COMPOUND_WORD.sub(r"\1", said)
    said = OF_ITSELF.sub("", said, count=1) or said
    said = re.sub("^是(?=.)(?!的$)", "", said)
    return " ".join(ORDINALS.get(word, word) for word in SAYINGS.get(said, said).split())


def _is_symbol(text: str) -> bool:
    """Return whether letters are a case-sensitive symbol rather than a word."""
    found = SYMBOL.fullmatch(text)
    return found is not None and (found[1] is not None or expression(text.lower()) is not None)


def shortened(text: str, said: str) -> str:
    """Return the core of a sentence or phrase; empty if shortening could change the meaning.

    Args:
        text: The sentence.
        said: Its normalized words, from `said_in`.
    """
    if LETTER.search(text) or NOT_SAID.search(said):
        return ""
    sentence = SENTENCE.fullmatch(said)
    short = SIDE.sub("", PLACED.sub("", sentence[1] if sentence else said, count=1))
    return "" if short == said else short
