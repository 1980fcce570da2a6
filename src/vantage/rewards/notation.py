r"""The normal form of an answer: one spelling for every symbol.

Superscripts, fractions and mathematical symbols get their LaTeX names, then Unicode is folded
(NFKC). LaTeX and Markdown formatting is removed: `\text{}`, `\mathbf{}`, `\boxed{}`, `$...$`,
`\left`, spaces, colours. This module does not interpret answers.
"""

from __future__ import annotations

import functools
import re
import unicodedata

LONGEST = 1_000  # characters; a longer answer is compared as a string only

# A number, with or without commas between groups of digits.
DIGITS = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
# Text without any formatting, which is already in normal form.
PLAIN = re.compile(r"(?!.*//)[0-9A-Za-z.+-](?:[0-9A-Za-z.,+/ -]*[0-9A-Za-z])?")
LINE = re.compile(r"\s*\n\s*")
SPACES = re.compile(r"[^\S\n]+")
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}]|[^\\{}]+|\\", re.DOTALL)

# Formatting commands, which do not change an answer; their braces are removed too.
DRESS = frozenset(
    str.split(
        """
    text textbf textit textrm textsf texttt textnormal textup textsc emph mbox hbox fbox boxed
    framebox mathrm mathbf mathit mathsf mathtt mathnormal mathcal boldsymbol bm pmb operatorname
    underline mathop mathord ensuremath ce
"""
    )
)
# Formatting commands without braces.
BARE = str.split(
    """
    left right big Big bigl bigr Bigl Bigr bigg Bigg biggl biggr Biggl Biggr middle limits
    nolimits displaystyle textstyle scriptstyle mathstrut strut large Large small normalsize tiny
    huge Huge
"""
)
# Commands whose first argument is not part of the answer: \color{red}5, \textcolor{red}{5}.
COLOURS = frozenset(str.split("color textcolor colorbox hspace vspace phantom hphantom label tag"))

# What is written for a command, without its backslash; other commands keep their names.
NAMES = {
    **dict.fromkeys((*BARE, *"!()[]"), ""),
    **dict.fromkeys(("rm", "bf", "it", "sf", "tt", *",;: >/~"), " "),
    **{sign: sign for sign in "%$&#_"},
    **{"\\": "\n", "|": "\\parallel "},
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"), "\\frac"),
    **dict.fromkeys(("dbinom", "tbinom"), "\\binom"),
    **dict.fromkeys(("le", "leqslant", "leqq"), "\\leq"),
    **dict.fromkeys(("ge", "geqslant", "geqq"), "\\geq"),
    **dict.fromkeys(("ne", "not="), "\\neq"),
    **dict.fromkeys(("times", "cdot", "ast", "cdotp", "bullet"), "*"),
    **{"lt": "<", "gt": ">", "div": "/", "varnothing": "\\emptyset", "newline": "\n"},
    **dict.fromkeys(("cdots", "ldots", "dots", "dotsc", "dotsb"), "..."),
    **dict.fromkeys(("mid", "vert", "lvert", "rvert"), "|"),
    **{"lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]"},
    **{"langle": "(", "rangle": ")"},
    **dict.fromkeys(("quad", "qquad", "space", "enspace", "thinspace", "nobreakspace"), " "),
    **dict.fromkeys(("degree", "textdegree"), "°"),
    **dict.fromkeys(("colon", "ratio"), ":"),
    **dict.fromkeys(("simeq", "thickapprox", "approxeq", "doteq"), "\\approx"),
    **dict.fromkeys(("backsim", "thicksim"), "\\sim"),
    **dict.fromkeys(("bigtriangleup", "vartriangle", "Delta"), "\\triangle"),
    **dict.fromkeys(("wedge", "land"), " and "),
    **dict.fromkeys(("vee", "lor"), " or "),
    **{"varphi": "\\phi", "varepsilon": "\\epsilon", "vartheta": "\\theta"},
    **dict.fromkeys(("reals", "Reals", "R"), "\\R"),
    **{"euro": "€", "pounds": "£", "yen": "¥", "textdollar": "$"},
    **dict.fromkeys(("bar", "widebar"), "\\overline"),
    **{"bot": "\\perp", "parallelslant": "\\parallel"},
    **dict.fromkeys(("rightarrow", "longrightarrow"), "\\to"),
}

GREEK = str.split(
    """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho
    sigmaf sigma tau upsilon phi chi psi omega
"""
)
CAPITALS = {"Γ": "Gamma", "Θ": "Theta", "Λ": "Lambda", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi"}
SIGNS = str.maketrans(
    {
        **{chr(0x3B1 + n): f"\\{name} " for n, name in enumerate(GREEK) if name != "mu"},
        **{sign: f"\\{name} " for sign, name in CAPITALS.items()},
        **{"\u2212": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "―": "-", "－": "-"},
        **{"×": "*", "·": "*", "⋅": "*", "∙": "*", "•": "*", "✕": "*", "╳": "*", "÷": "/"},
        **{"∶": ":", "։": ":", "⁄": "/", "∕": "/", "。": ".", "；": ";", "،": ","},
        **{"√": "\\surd ", "∛": "\\surd[3] ", "∜": "\\surd[4] ", "∞": "\\infty "},
        **{"±": "\\pm ", "∓": "\\mp ", "≤": "\\leq ", "≥": "\\geq ", "⩽": "\\leq ", "⩾": "\\geq "},
        **{"≦": "\\leq ", "≧": "\\geq ", "≠": "\\neq ", "≈": "\\approx ", "≃": "\\approx "},
        **{"∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∅": "\\emptyset ", "Ø": "\\emptyset "},
        **{"→": "\\to ", "⟶": "\\to ", "⊙": "\\odot ", "〇": "零"},
        **{"∠": "\\angle ", "△": "\\triangle ", "▲": "\\triangle ", "Δ": "\\triangle "},
        **{"∆": "\\triangle ", "∥": "\\parallel ", "‖": "\\parallel ", "⫽": "\\parallel "},
        **{"⊥": "\\perp ", "⟂": "\\perp ", "≅": "\\cong ", "≌": "\\cong "},
        **{"∼": "\\sim ", "∽": "\\sim ", "～": "~", "〜": "~", "ℝ": "\\R "},
        **{"℃": "°C", "℉": "°F", "º": "°", "˚": "°", "µ": "μ", "∣": "|", "″": '"', "′": "'"},
        **{"“": '"', "”": '"', "‘": "'", "’": "'", "⟨": "(", "⟩": ")", "〈": "(", "〉": ")"},
        **{"【": "[", "】": "]", "〔": "(", "〕": ")", "⇒": "\\Rightarrow "},
        **{"∑": "\\sum ", "∏": "\\prod ", "∫": "\\int ", "ϕ": "\\phi ", "ϵ": "\\epsilon "},
    }
)
RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ]+")
LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎]+")
COMPATIBLE = re.compile("[^①-⑳]+")  # NFKC would turn ①③ into 13
VULGAR = re.compile("[¼-¾⅐-⅞↉]")
CIRCLE = re.compile(r"\s*\^\s*(?:\{\s*(?:\\circ|o|°|∘)\s*\}|\\circ(?![A-Za-z])|o(?![A-Za-z])|°|∘)")
GROUPED = re.compile(r"(?<=\d)(?:\{,\}|\\!|,\\!)(?=\d)")
MATHS = re.compile(r"(?<!\\)\$\$?((?:\\.|[^$\\])*)\$\$?", re.DOTALL)
MARKDOWN = re.compile(r"\*\*|__(?=\S)|(?<=\S)__|^\s*#{1,6}\s+|`")
EMPHASIS = re.compile(r"(?<![\w*)}\]])\*(?!\s)([^*\n]+)(?<!\s)\*(?![\w*({]|\\[A-Za-z])")
DOLLARS = "\ue000"  # stands for a dollar of money while `$` of mathematics is removed
CROSS = re.compile(r"(?<=\d) ?[xX] ?(?=10 ?\^)|(?<=\d) [xX] (?=\d)")  # 3 x 10^5
SIMILAR = re.compile(r"(?<=[A-Z]) ?~ ?(?=\\triangle)")
ARROW = re.compile(r"(?<![<-])-{1,3}>")
# Parallel lines: AB // CD, a||b.
SLASHES = re.compile(r"(?<=[A-Za-z]) ?// ?(?=[A-Za-z])|(?<=[A-Za-z]) ?\|\| ?(?=[A-Za-z][^|]*$)")
TIGHT = re.compile(r" +(?=[\^_])|(?<=[\^_]) +")
UNIT_VECTOR = re.compile(
    r"\\(?:hat|vec|mathbf)\s*\{\s*(?:\\(?:mathbf|bf)\s*\{?\s*)?\\?([ijk])(?:math)?\s*\}{1,2}"
)
BLACKBOARD = re.compile(r"\\mathbb\s*\{?\s*R\s*\}?")
ENVIRONMENT = re.compile(r"\\begin\s*\{([A-Za-z]+)\*?\}.*?\\end\s*\{\1\*?\}", re.DOTALL)
LOOSE = re.compile(r"(\\[A-Za-z]+) (?![A-Za-z])")
ROW, ROWS = "\ue001", "\\\\"  # the end of a matrix row, which is not a new line


def plain(answer: str) -> str:
    """Return the normal form of an answer; line breaks stay, because they may separate values."""
    return _remembered(answer) if len(answer) <= LONGEST else _plain(answer)


def _plain(answer: str) -> str:
    found = answer.strip()
    if not PLAIN.fullmatch(found) or "  " in found or " x " in found:
        found = _undressed(_folded(found))
    return found if found.endswith("...") else found.rstrip(" \n.,;:")


_remembered = functools.lru_cache(maxsize=50_000)(_plain)


def _folded(answer: str) -> str:
    """Replace Unicode symbols by their ASCII or LaTeX spelling."""
    if answer.isascii():
        return answer
    found = RAISED.sub(lambda run: f"^{{{unicodedata.normalize('NFKC', run[0])}}}", answer)
    found = LOWERED.sub(lambda run: f"_{{{unicodedata.normalize('NFKC', run[0])}}}", found)
    found = VULGAR.sub(_vulgar, found).translate(SIGNS)
    found = COMPATIBLE.sub(lambda run: unicodedata.normalize("NFKC", run[0]), found)
    # NFKC turns full-width and other variants into characters that are in SIGNS.
    found = found.translate(SIGNS).replace("根号", "\\surd ")
    return "".join(map(_character, found)) if not found.isascii() else found


def _vulgar(found: re.Match[str]) -> str:
    up, _, down = unicodedata.normalize("NFKC", found[0]).partition("\u2044")
    return f" \\frac{{{up}}}{{{down}}}"


def _character(sign: str) -> str:
    """Map digits of any script to 0 to 9, and invisible characters to the empty string."""
    if sign.isdecimal():
        return str(unicodedata.decimal(sign))
    return "" if unicodedata.category(sign) == "Cf" else sign


def _undressed(answer: str) -> str:
    found = answer
    if "\\begin" in found:
        found = ENVIRONMENT.sub(lambda one: one[0].replace(ROWS, ROW), found)
    found = GROUPED.sub("", found)
    if "$" in found:
        found = MATHS.sub(r" \1 ", found.replace("\\$", DOLLARS)).replace(DOLLARS, "\\$")
    if "*" in found or "#" in found or "`" in found or "_" in found:
        if found.count("**") % 2:  # an odd `**` is a power, not bold text
            found = found.replace("**", "^")
        found = EMPHASIS.sub(r"\1", MARKDOWN.sub("", found))
    if "\\" in found:
        found = UNIT_VECTOR.sub(r" \1", found)
        found = BLACKBOARD.sub(r"\\R ", found)
        found = LOOSE.sub(r"\1", _without_commands(found))
    if "^" in found or "_" in found:
        found = TIGHT.sub("", CIRCLE.sub("°", found))
    if "//" in found or "||" in found:
        found = SLASHES.sub(r" \\parallel ", found)
    if "->" in found:
        found = ARROW.sub(r" \\to ", found)
    if "x" in found or "X" in found:
        found = CROSS.sub("*", found)
    if "~" in found:
        found = SIMILAR.sub(r" \\sim ", found)
        found = re.sub(r"~(?!\s*\d)|(?<![\d}])~", " ", found)
    return _unbraced(SPACES.sub(" ", LINE.sub("\n", found)).strip().replace(ROW, ROWS))


def _unbraced(answer: str) -> str:
    """Remove braces around the whole answer, unless they enclose several items, a set."""
    while answer[:1] == "{" and answer[-1:] == "}":
        depth = 0
        for place, sign in enumerate(answer):
            depth += (sign in "{([") - (sign in "})]")
            if (depth == 0 and place < len(answer) - 1) or (depth == 1 and sign in ",;|"):
                return answer
        if not answer[1:-1].strip():
            return answer
        answer = answer[1:-1].strip()
    return answer


def _without_commands(answer: str) -> str:
    """Remove formatting commands and rename synonyms of the others."""
    out: list[str] = []
    braces: list[str] = []  # the closing of each open brace
    # The kind of command whose argument comes next, and whether that argument is dropped.
    waiting, skipped = "", False
    for token in TOKEN.findall(answer):
        if waiting and token.isspace():
            continue
        if token == "{":
            out.append({"": "{", "dress": " ", "colour": ""}[waiting])
            braces.append({"": "}", "dress": " ", "colour": "colour"}[waiting])
            skipped, waiting = skipped or waiting == "colour", ""
        elif token == "}":
            closing = braces.pop() if braces else "}"
            if closing == "colour":
                skipped = False
                waiting = "dress"
            elif not skipped:
                out.append(closing)
        elif not skipped:
            waiting = _command(token, out)
    return "".join(out)


def _command(token: str, out: list[str]) -> str:
    """Append a token to `out` unless it is formatting; return the kind of argument it expects."""
    name = token[1:] if token[0] == "\\" else ""
    if name in DRESS:
        out.append(" ")
        return "dress"
    if name in COLOURS:
        return "colour"
    out.append(NAMES.get(name, token))
    if name.isalpha() and out[-1][:1] == "\\":
        out.append(" ")
    return ""
