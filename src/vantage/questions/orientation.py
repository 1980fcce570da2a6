"""Detect from its words which image transforms could change the answer to a question.

A rotation changes left, above and north. A mirror also swaps clockwise, b and d. The note in the
prompt asks the model to undo the transform, but a policy that ignores the note would be rewarded
for a wrong reading, so the image of such a question is left unchanged. This is a heuristic; a
column can list the allowed transforms of each row (`variants.transforms.allowed`).
"""

from __future__ import annotations

import functools
import re

BOTH = frozenset({"turn", "mirror"})
TURN = frozenset({"turn"})
MIRROR = frozenset({"mirror"})
NOISE = frozenset({"noise"})

LONGEST = 10_000  # characters; longer questions are not searched and never transformed

FIGURE = r"(?:figures?|diagrams?|pictures?|images?|graphs?|tables?|charts?|texts?|passages?|plots?)"

# Phrases with left, right, up, down or top that do not refer to a direction in an image.
HARMLESS = (
    r"right[ -]+(?:angle[ds]?|triangles?|isosceles|(?:circular )?(?:cones?|cylinders?)|prisms?)",
    r"right[ -](?:square |rectangular |triangular )?(?:pyramids?|prisms?|now|away|answers?|"
    r"choices?)",
    r"(?:all|copy)[ -]?rights?\b(?! (?:of|side))|(?:is|it) right (?:that|to|if)|right or wrong",
    r"(?:left|remaining)[ -]?over\b|leftovers?",
    r"(?:is|are|was|were|be|has|have|had|much|many)(?: \w+){0,3}? left(?=[ ]*(?:[.?!,;]|$|"
    r"after|in|for"
    r"|when|if|at the end|uneaten|unpainted|unshaded|blank|out|untouched|on (?:his|her|"
    r"the plate)))",
    r"(?:left|right)[ -](?:hand )?(?:side )?of (?:the |this |an? )?(?:equations?|inequality|"
    r"identity)",
    r"(?:left|right) blank",
    rf"{FIGURE}(?: shown| given)? (?:above|below)|(?:above|below) {FIGURE}",
    r"(?:shown|given|listed|stated|as|see|pictured|drawn|described|mentioned|seen|using the \w+|"
    r"information|question|options?|choices|list|data|answer|statements?|following) (?:above|"
    r"below)",
    r"(?:above|below)[ -]mentioned|the above(?! the)|none of the above|all of the above",
    r"(?:above|below) (?:the )?(?:zero|average|freezing|mean|median|par|sea level|[\d$€£].*?)\b",
    r"\b(?:add|adds|added|adding|made?|makes?|making|set|sets|setting|look|looks|ends?|round|"
    r"rounded|sped|speeds?|grow|grows|grew|give|gives|come|comes|use|used|pick|picks|sum|sums|"
    r"line|lines|open|opens|light|lights|take|takes|save|saved|fill|"
    r"filled)(?: (?:it|them|all|these))? up\b",
    r"\bup to\b|\bup until\b",
    r"\b(?:break|breaks|broken|write|writes|note|slow|slows|round|rounded|cut|cuts|put|"
    r"narrow) down\b",
    r"\bdown payments?\b|\bcount ?down\b",
    r"\btop[ -](?:speed|score|scorers?|selling|rated|prize|grade|secret|quality|ten|five|three|"
    r"\d+)",
    r"\bbottom line\b|\bupper (?:limit|bound|case)\b|\blower (?:limit|bound|case|price|cost|than)",
    r"\bfront row\b|\brow(?:s|ed|ing)? (?:a |the )?boats?\b|\bcolumns? (?:support|hold|carry)\w*",
    r"\bvertical angles?\b|\b(?:answer|statement|option|choice|one)s? (?:is|are) right\b",
    r"\b(?:is|are|was|were) left (?:open|alone|empty|over|behind|to chance)\b",
    r"\b(?:increase[sd]?|decrease[sd]?|rose|fell|rise|fall) (?:\w+ )?(?:between|from|by|in|"
    r"since)\b",
    r"\b(?:price|would|will|can|could|to|not) lower (?:the|a|its|their)\b|\bupright (?:bars?|"
    r"piano)\b",
    r"\bhow many hands\b|\bright circular\b|\bslant heights?\b|\bquadrant of (?:a|the) circle\b",
    r"\b(?:upper|lower|middle)-(?:class|income)\b|\b(?:has|have|had|been|he|she|they|"
    r"money) left\b(?! of)",
    r"\bleft (?:the (?:shop|house|station|store|room|party)|empty|blank)\b|\b(?:at|after|"
    r"by) \d+ o'clock\b",
    r"\brow houses?\b|\b(?:slides?|slid|rolls?|runs?) (?:up|down) (?:a|the|an)\b|"
    r"\bcoordinate the\b",
)
# Geographic names; these are case-sensitive.
PLACES = re.compile(r"\b(?:North|South|East|West)(?:ern)? (?:[A-Z]\w+)")

LETTER = r"['\"]?(?:[bdpqnuMWZNSE]|6|9)['\"]?"

SENSITIVE = (
    (r"\b(?:left|right)(?:most|wards?|[ -]hand(?:ed)?)?\b", BOTH),
    (
        r"\b(?:underneath|beneath|overhead|above|below|top|topmost|bottom|uppermost|bottommost|"
        r"upper|lower|lowermost)\b",
        BOTH,
    ),
    (r"\b(?:up|down)(?:wards?|hill|stream|side)?\b", BOTH),
    (r"\b(?:anti|counter)?-?clock(?:wise|s?)\b|\bwhat time\b|\bo'clock\b|\btime does\b", BOTH),
    (r"\b(?:hour|minute|second) hand\b|\bwatch (?:show|read|say)", BOTH),
    (r"\b(?:north|south|east|west)(?:ern|wards?|bound|east|west)?\b|\bcompass\b|\bbearing\b", BOTH),
    (r"\bquadrants?\b|\bcoordinates?\b|\bordered pairs?\b|\bslopes?\b|\bgradient of\b", BOTH),
    (r"\b[xy][ -]?(?:axis|intercepts?|coordinates?|values?)\b|\bintercepts?\b", BOTH),
    (r"\b(?:rise|rises|rising|rose|fall|falls|falling|ascend\w*|descend\w*|trend\w*)\b", BOTH),
    (r"\b(?:increas\w*|decreas\w*|correlation|concave|convex upward)\b", BOTH),
    (r"\b(?:parabola|graph|curve)s? opens?\b", BOTH),
    (
        r"\b(?:face|faces|facing|points?|pointing|heading|headed|look|looking|moving|going|bend\w*|"
        r"lean\w*|tilt\w*|slant\w*|turning|blowing|flow\w*|travel\w*) "
        r"(?:to(?:wards?)?|away|which|in|at)\b",
        BOTH,
    ),
    (r"\b(?:tilt\w*|slant\w*|lean(?:s|ing)|slop(?:es|ing))\b", BOTH),
    (
        r"\bwhich (?:way|direction|side|hand|foot|arm|leg|eye|ear|lung|kidney|lane|shoe|glove)\b",
        BOTH,
    ),
    (r"\bdirections?\b|\borientation\b|\boriented\b|\bupside\b|\binverted\b|\bupright\b", BOTH),
    (rf"\b{FIGURE} (?:is |has been |been |was |appear )?(?:rotated|flipped|mirrored|turned)", BOTH),
    (r"\bsee-?saw\b|\bbalance scale\b|\bwaxing\b|\bwaning\b|[←→↑↓↖↗↘↙]|\barrowhead\b", BOTH),
    (
        r"\bchess\w*|\b(?:king|queen|rook|bishop|knight) stands?\b|\b(?:white|"
        r"black) to (?:move|play)\b|\balgebraic notation\b",
        BOTH,
    ),
    (
        r"\b(?:equation|function|inequality|range|domain|vertex|maximum|minimum|max|min)\b.*"
        r"\b(?:line|curve|graph(?:ed)?|plot(?:ted)?|parabola|shaded|point|shown|grid)\b",
        BOTH,
    ),
    (
        r"\b(?:line|curve|graph|parabola)\b.*\b(?:equation|function|maximum|minimum|inequality)\b",
        BOTH,
    ),
    (
        r"\b(?:cross|crosses|meets?|cuts?) the (?:axis|axes)\b|\bcomponents\b.*\bvector|"
        r"\bvector\b.*\bcomponents\b",
        BOTH,
    ),
    (
        r"\b(?:first|last|second|third) (?:word|line)\b|\breading across\b|\bhorizon\b|"
        r"\bceiling of\b",
        BOTH,
    ),
    (r"\bnumber line\b|\bhalf-plane\b", BOTH),
    (
        r"\b(?:wider|taller|higher|wide|tall) (?:than|or|it)\b|\bportrait\b|\blandscape (?:or|"
        r"format)\b",
        TURN,
    ),
    (r"\b(?:into|out of) the (?:page|screen|paper)\b", MIRROR),
    (r"\bhorizontal(?:ly)?\b|\bvertical(?:ly)?\b|\bsteep\w*\b|\brows|columns\b", TURN),
    (r"\b(?:row|column)\b", BOTH),
    (rf"(?-i:\b{LETTER} or (?:an? |the letter )?{LETTER}(?!\w))", BOTH),
    (r"\b(?:handed(?:ness)?|spirals?|spiralling|helix|chiral\w*|enantiomers?|mirror\w*)\b", MIRROR),
    (
        r"\b(?:letters?|words?|spell\w*|texts?|handwrit\w*|plates?|written|serial number|"
        r"book cover|names? (?:of|on))\b",
        MIRROR,
    ),
    (r"\b(?:stereocent\w+|chiral\w*)\b", MIRROR),
    (
        r"\b(?:sign|label|title|caption|banner|shirt|screen|logo|it)s? (?:say|says|read|reads)\b",
        MIRROR,
    ),
    (
        r"\b(?:nois[ey]\w*|grain(?:y|iness)|blur\w*|sharp(?:ness)? (?:image|photo)|"
        r"image quality)\b",
        NOISE,
    ),
)


@functools.cache
def _harmless() -> re.Pattern:
    return re.compile("|".join(f"(?:{pattern})" for pattern in HARMLESS), re.IGNORECASE)


@functools.cache
def _sensitive() -> list[tuple[re.Pattern, frozenset[str]]]:
    return [(re.compile(pattern, re.IGNORECASE), kinds) for pattern, kinds in SENSITIVE]


@functools.lru_cache(maxsize=10_000)
def changing(question: str, answer: str = "") -> frozenset[str]:
    """Kinds of transforms ("turn", "mirror", "noise") that could change the answer.

    Args:
        question: Text of the question, including its options.
        answer: The reference answer, whose words are searched as well.
    """
    if len(question) > LONGEST:
        return BOTH | NOISE
    words = _harmless().sub(" ", PLACES.sub(" ", f"{question} {answer}"))
    found = [kinds for pattern, kinds in _sensitive() if pattern.search(words)]
    return frozenset().union(*found)
