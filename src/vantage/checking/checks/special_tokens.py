"""Special tokens of the model in texts."""

from __future__ import annotations

from collections.abc import Iterator

from vantage.checking.context import Context, needs_rows
from vantage.checking.findings import Finding, Level, rows_named
from vantage.checking.parity import Model
from vantage.questions.schema import IMAGE


@needs_rows
def special_tokens(context: Context) -> Iterator[Finding]:
    """Report special tokens in the template, in the system prompt and in the rows."""
    model, data, looks = context.model, context.run.config.data, context.looks
    template = data.template.replace(IMAGE, "")  # a placeholder of vantage, never rendered
    for option, text in (("template", template), ("system_prompt", data.system_prompt)):
        for token in model.hidden_in([text or ""]):
            yield _special(model, f"data.{option}", token)
    rows_of: dict[str, list[int]] = {}
    for place, tokens in looks.hidden.items():
        for token in tokens:
            rows_of.setdefault(token, []).append(int(looks.row_Q[place]))
    for token, rows in rows_of.items():
        yield _special(model, rows_named(rows), token)


def _special(model: Model, where: str, token: str) -> Finding:
    level: Level = "error" if model.grave(token) else "warning"
    words = f"{where}: {token!r} in the text is a special token of the model; reword it"
    return Finding(level, "special tokens", words)
