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
    r"right[ -]+(?:angle[ds]?|triangles?|isosceles|(?:circular )?(?:cones?|cylinders?)|prisms?)"
    r"|right[ -](?:square |rectangular |triangular )?(?:pyramids?|prisms?|now|away|answers?|"
    r"choices?)"
    r"|(?:all|copy)[ -]?rights?\b(?! (?:of|side))|(?:is|it) right (?:that|to|if)|right or wrong"
    r"|(?:left|remaining)[ -]?over\b|leftovers?"
    r"|(?:is|are|was|were|be|has|have|had|much|many)(?: \w+){0,3}? left(?=[ ]*(?:[.?!,;]|$|after|"
    r"in|for|when|if|at the end|uneaten|unpainted|unshaded|blank|out|untouched|on (?:his|her|"
    r"the plate)))"
    r"|(?:left|right)[ -](?:hand )?(?:side )?of (?:the |this |an? )?(?:equations?|inequality|"
    r"identity)"
    rf"|(?:left|right) blank|{FIGURE}(?: shown| given)? (?:above|below)|(?:above|below) {FIGURE}"
    r"|(?:shown|given|listed|stated|as|see|pictured|drawn|described|mentioned|seen|using the \w+|"
    r"information|question|options?|choices|list|data|answer|statements?|following) (?:above|below)"
    r"|(?:above|below)[ -]mentioned|the above(?! the)|none of the above|all of the above"
    r"|(?:above|below) (?:the )?(?:zero|average|freezing|mean|median|par|sea level|[\d$€£].*?)\b"
    r"|\b(?:add|adds|added|adding|made?|makes?|making|set|sets|setting|look|looks|ends?|round|"
    r"rounded|sped|speeds?|grow|grows|grew|give|gives|come|comes|use|used|pick|picks|sum|sums|line|"
    r"lines|open|opens|light|lights|take|takes|save|saved|fill|filled)(?: (?:it|them|all|"
    r"these))? up\b"
    r"|\bup to\b|\bup until\b"
    r"|\b(?:break|breaks|broken|write|writes|note|slow|slows|round|rounded|cut|cuts|put|"
    r"narrow) down\b"
    r"|\bdown payments?\b|\bcount ?down\b"
    r"|\btop[ -](?:speed|score|scorers?|selling|rated|prize|grade|secret|quality|ten|five|three|"
    r"\d+)"
    r"|\bbottom line\b|\bupper (?:limit|bound|case)\b|\blower (?:limit|bound|case|price|cost|than)"
    r"|\bfront row\b|\brow(?:s|ed|ing)? (?:a |the )?boats?\b|\bcolumns? (?:support|hold|carry)\w*"
    r"|\bvertical angles?\b|\b(?:answer|statement|option|choice|one)s? (?:is|are) right\b"
    r"|\b(?:is|are|was|were) left (?:open|alone|empty|over|behind|to chance)\b"
    r"|\b(?:increase[sd]?|decrease[sd]?|rose|fell|rise|fall) (?:\w+ )?(?:between|from|by|in|"
    r"since)\b"
    r"|\b(?:price|would|will|can|could|to|not) lower (?:the|a|its|their)\b"
    r"|\bupright (?:bars?|piano)\b|\bhow many hands\b|\bright circular\b|\bslant heights?\b"
    r"|\bquadrant of (?:a|the) circle\b|\b(?:upper|lower|middle)-(?:class|income)\b"
    r"|\b(?:has|have|had|been|he|she|they|money) left\b(?! of)"
    r"|\bleft (?:the (?:shop|house|station|store|room|party)|empty|blank)\b"
    r"|\b(?:at|after|by) \d+ o'clock\b|\brow houses?\b"
    r"|\b(?:slides?|slid|rolls?|runs?) (?:up|down) (?:a|the|an)\b|\bcoordinate the\b"
)
# Geographic names; these are case-sensitive.
PLACES = re.compile(r"\b(?:North|South|East|West)(?:ern)? (?:[A-Z]\w+)")

LETTER = r"['\"]?(?:[bdpqnuMWZNSE]|6|9)['\"]?"

# Words of questions whose answer a transform of these kinds could change.
SENSITIVE = {
    BOTH: (
        r"\b(?:left|right)(?:most|wards?|[ -]hand(?:ed)?)?\b"
        r"|\b(?:underneath|beneath|overhead|above|below|top|topmost|bottom|uppermost|bottommost|"
        r"upper|lower|lowermost)\b"
        r"|\b(?:up|down)(?:wards?|hill|stream|side)?\b|\b(?:anti|counter)?-?clock(?:wise|s?)\b"
        r"|\bwhat time\b|\bo'clock\b|\btime does\b|\b(?:hour|minute|second) hand\b"
        r"|\bwatch (?:show|read|say)|\b(?:north|south|east|west)(?:ern|wards?|bound|east|west)?\b"
        r"|\bcompass\b|\bbearing\b|\bquadrants?\b|\bcoordinates?\b|\bordered pairs?\b|\bslopes?\b"
        r"|\bgradient of\b|\b[xy][ -]?(?:axis|intercepts?|coordinates?|values?)\b|\bintercepts?\b"
        r"|\b(?:rise|rises|rising|rose|fall|falls|falling|ascend\w*|descend\w*|trend\w*)\b"
        r"|\b(?:increas\w*|decreas\w*|correlation|concave|convex upward)\b"
        r"|\b(?:parabola|graph|curve)s? opens?\b"
        r"|\b(?:face|faces|facing|points?|pointing|heading|headed|look|looking|moving|going|"
        r"bend\w*|lean\w*|tilt\w*|slant\w*|turning|blowing|flow\w*|travel\w*) (?:to(?:wards?)?|"
        r"away|which|in|at)\b"
        r"|\b(?:tilt\w*|slant\w*|lean(?:s|ing)|slop(?:es|ing))\b"
        r"|\bwhich (?:way|direction|side|hand|foot|arm|leg|eye|ear|lung|kidney|lane|shoe|glove)\b"
        r"|\bdirections?\b|\borientation\b|\boriented\b|\bupside\b|\binverted\b|\bupright\b"
        rf"|\b{FIGURE} (?:is |has been |been |was |appear )?(?:rotated|flipped|mirrored|turned)"
        r"|\bsee-?saw\b|\bbalance scale\b|\bwaxing\b|\bwaning\b|[←→↑↓↖↗↘↙]|\barrowhead\b|\bchess\w*"
        r"|\b(?:king|queen|rook|bishop|knight) stands?\b|\b(?:white|black) to (?:move|play)\b"
        r"|\balgebraic notation\b"
        r"|\b(?:equation|function|inequality|range|domain|vertex|maximum|minimum|max|"
        r"min)\b.*\b(?:line|curve|graph(?:ed)?|plot(?:ted)?|parabola|shaded|point|shown|grid)\b"
        r"|\b(?:line|curve|graph|parabola)\b.*\b(?:equation|function|maximum|minimum|inequality)\b"
        r"|\b(?:cross|crosses|meets?|cuts?) the (?:axis|axes)\b|\bcomponents\b.*\bvector"
        r"|\bvector\b.*\bcomponents\b|\b(?:first|last|second|third) (?:word|line)\b"
        r"|\breading across\b|\bhorizon\b|\bceiling of\b|\bnumber line\b|\bhalf-plane\b"
        rf"|\b(?:row|column)\b|(?-i:\b{LETTER} or (?:an? |the letter )?{LETTER}(?!\w))"
    ),
    TURN: (
        r"\b(?:wider|taller|higher|wide|tall) (?:than|or|it)\b|\bportrait\b"
        r"|\blandscape (?:or|format)\b|\bhorizontal(?:ly)?\b|\bvertical(?:ly)?\b|\bsteep\w*\b"
        r"|\brows|columns\b"
    ),
    MIRROR: (
        r"\b(?:into|out of) the (?:page|screen|paper)\b"
        r"|\b(?:handed(?:ness)?|spirals?|spiralling|helix|chiral\w*|enantiomers?|mirror\w*)\b"
        r"|\b(?:letters?|words?|spell\w*|texts?|handwrit\w*|plates?|written|serial number|"
        r"book cover|names? (?:of|on))\b"
        r"|\b(?:stereocent\w+|chiral\w*)\b"
        r"|\b(?:sign|label|title|caption|banner|shirt|screen|logo|it)s? (?:say|says|read|reads)\b"
    ),
    NOISE: (
        r"\b(?:nois[ey]\w*|grain(?:y|iness)|blur\w*|sharp(?:ness)? (?:image|photo)|"
        r"image quality)\b"
    ),
}


@functools.lru_cache(maxsize=10_000)
def changing(question: str, answer: str = "") -> frozenset[str]:
    """Kinds of transforms ("turn", "mirror", "noise") that could change the answer.

    Args:
        question: Text of the question, including its options.
        answer: The reference answer, whose words are searched as well.
    """
    if len(question) > LONGEST:
        return BOTH | NOISE
    words = re.sub(HARMLESS, " ", PLACES.sub(" ", f"{question} {answer}"), flags=re.I)
    found = [kinds for kinds, pattern in SENSITIVE.items() if re.search(pattern, words, re.I)]
    return frozenset().union(*found)
