"""Options that several commands share, and the objects made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vantage.chat.server import Settings
    from vantage.questions.layouts import Columns

InQuestion = Annotated[str | None, typer.Option(help="Column with the question.")]
InAnswer = Annotated[str | None, typer.Option(help="Column with the reference answer.")]
InImage = Annotated[str | None, typer.Option(help="Column with one image; '' for none.")]
InImages = Annotated[str | None, typer.Option(help="Column with lists of images; '' for none.")]
Temperature = Annotated[float, typer.Option(min=0, help="Sampling temperature.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Concurrent requests.")]
PerMinute = Annotated[float | None, typer.Option(min=0.01, help="Maximum request rate.")]
Timeout = Annotated[float, typer.Option(min=0.01, help="Seconds per request.")]
Retries = Annotated[int, typer.Option(min=0, help="Retries of a failed request.")]


def named_columns(**columns: str | None) -> Columns:
    """Columns named on the command line; the layout of the data determines the others."""
    from vantage.questions.layouts import Columns

    return Columns(**{kind: name for kind, name in columns.items() if name is not None})


def server_settings(
    base_url: str,
    model: str,
    temperature: float,
    timeout: float,
    retries: int,
    per_minute: float | None,
) -> Settings:
    """Connection settings of a model on a server, with the API key from the environment."""
    from vantage.chat.server import Settings, key

    return Settings(base_url, model, key(), temperature, timeout, retries, per_minute)
