"""Models that answer questions, local or behind a server; each answer is stored immediately."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from tqdm.auto import tqdm

from vantage.chat.journal import Journal, digest
from vantage.evaluation.sampling import Read, Response, Sampling
from vantage.questions.schema import IMAGE, Question, Turn, conversation, in_parts, pictures
from vantage.rewards.opening import judged, opened_by_others
from vantage.terminal import line

if TYPE_CHECKING:
    from vantage.chat.asking import Answers, Request
    from vantage.chat.server import Settings
    from vantage.evaluation.models import Loaded


class Model(Protocol):
    """A model that answers questions.

    Attributes:
        sampling: How responses are sampled.
    """

    sampling: Sampling

    @property
    def origin(self) -> dict[str, str]:
        """Identity of the model: its path or name, its weights, its server."""
        ...

    def answers(self, read: Read, size: int, journal: Journal, title: str) -> list[list[Response]]:
        """Return the responses to questions 0 to `size - 1`, from the journal where it has them.

        Args:
            read: Function that reads a question by its number.
            size: Number of questions.
            journal: Stores new responses.
            title: Label of the progress bar.
        """
        ...


@dataclass
class Local:
    """A model on this machine.

    Attributes:
        loaded: The model with its processor.
        sampling: How responses are sampled.
        batch: Prompts in a generation batch.
    """

    loaded: Loaded
    sampling: Sampling
    batch: int = 16

    @property
    def origin(self) -> dict[str, str]:
        """See `Model`."""
        return {"model": self.loaded.path, "weights": self.loaded.identity}

    def answers(self, read: Read, size: int, journal: Journal, title: str) -> list[list[Response]]:
        """See `Model`."""
        import torch

        from vantage.evaluation.generation import batches, generate

        found: list[list[Response]] = [[] for _ in range(size)]
        samples = self.sampling.samples
        asked = batches(range(size), self.batch, read)
        with (
            torch.random.fork_rng(),
            tqdm(total=size, desc=line(title), unit="question", disable=None) as bar,
        ):
            for places, questions in asked:
                keys = [key(one, self.loaded.identity, self.sampling) for one in questions]
                names = [f"{name} x {samples}" for name in keys]
                new = [n for n, name in enumerate(names) if not journal.responses(name, samples)]
                if new:
                    # The seed depends on the questions alone, so a resumed evaluation samples the
                    # same answers.
                    torch.manual_seed(_seed(self.sampling.seed, *(names[n] for n in new)))
                    said = generate(self.loaded, [questions[n] for n in new], self.sampling)
                    for n, responses in zip(new, said, strict=True):
                        journal.add(names[n], {"responses": [asdict(one) for one in responses]})
                for place, name in zip(places, names, strict=True):
                    kept = journal.responses(name, samples) or []
                    found[place] = [Response(**one) for one in kept]
                bar.update(len(places))
        return found


@dataclass
class Remote:
    """A model behind a server with OpenAI's chat protocol.

    Attributes:
        settings: The server's settings.
        sampling: How responses are sampled.
        concurrency: Maximum number of requests in flight.
    """

    settings: Settings
    sampling: Sampling
    concurrency: int = 16

    @property
    def origin(self) -> dict[str, str]:
        """See `Model`; the weights behind a server are unknown."""
        return {"model": self.settings.model, "server": self.settings.address}

    def answers(self, read: Read, size: int, journal: Journal, title: str) -> list[list[Response]]:
        """See `Model`; each sample is one request.

        Raises:
            EngineError: If some requests have no answer yet; the journal keeps the others.
            ConfigError: If the server cannot be reached or refuses the requests.
        """
        from vantage.chat.asking import ask_all, wait_for

        keys: list[list[str]] = []
        samples = self.sampling.samples
        with tqdm(total=size * samples, desc=line(title), unit="response", disable=None) as bar:
            asked = self._requests(read, size, keys)
            asking = ask_all(
                self.settings,
                asked,
                concurrency=self.concurrency,
                journal=journal,
                tell=bar.update,
            )
            answers = wait_for(asking)
        answers.complete(title)
        said = [[_response(answers, name) for name in names] for names in keys]
        tag = self._opened([one for row in said for one in row])
        return [[replace(one, text=judged(one.text, tag)) for one in row] for row in said]

    def _opened(self, said: Sequence[Response]) -> str:
        """Infer the tag with which the server's chat template opens thoughts."""
        there = [one for one in said if one.failed is None]
        ended = [one.tokens < self.sampling.max_tokens for one in there]
        return opened_by_others([one.text for one in there], ended)

    def _requests(self, read: Read, size: int, keys: list[list[str]]) -> Iterator[Request]:
        """Yield a request for each sample; append the keys of every question to `keys`."""
        from vantage.chat.asking import Request

        for place in range(size):
            question = read(place)
            name = key(question, self.settings.model, self.sampling)
            names = [f"{name}/{sample}" for sample in range(self.sampling.samples)]
            # The journal key names the server, since another may serve a different model under
            # this name. The seed does not, so all servers sample with equal seeds.
            keys.append([digest([self.settings.address, one]) for one in names])
            spoken = functools.cache(functools.partial(messages, question))
            for kept_as, one in zip(keys[-1], names, strict=True):
                options = {
                    "temperature": self.sampling.temperature,
                    "max_tokens": self.sampling.max_tokens,
                    "seed": _seed(self.sampling.seed, one),
                }
                yield Request(kept_as, spoken, options)


def _response(answers: Answers, name: str) -> Response:
    found = answers.found.get(name)
    if found is None:
        return Response("", 0, failed=answers.refused[name])
    return Response(found.text, found.completion_tokens)


def key(question: Question, model: str, sampling: Sampling) -> str:
    """Return the journal key of a question to a model; it excludes the number of samples."""
    how = [sampling.temperature, sampling.max_tokens, sampling.seed]
    return digest([model, how, *content(question)])


def content(question: Question) -> list[Any]:
    """Return everything that a question consists of, as input of a digest."""
    steps = [[repr(step) for step in shown.steps] for shown in pictures(question)]
    earlier = [_words(turn) for turn in question.earlier or ()]
    later = [[_words(turn) for turn in question.later]] if question.later else []
    shown = [picture.digest for picture in pictures(question)]
    plain = question.earlier is None
    return [plain, question.text, earlier, shown, steps, *later]


def _words(turn: Turn) -> list[str]:
    return [str(part.get("text", IMAGE)) for part in in_parts(turn["content"])]


def _seed(seed: int, *names: str) -> int:
    return int(digest([seed, *names])[:8], 16) & 0x7FFF_FFFF


def messages(question: Question) -> list[dict[str, Any]]:
    """Convert a question to messages of the chat protocol, with its images as data URLs."""
    from vantage.chat.pictures import data_url

    def part(found: Any) -> dict[str, Any]:
        if isinstance(found, str):
            return {"type": "text", "text": found}
        return {"type": "image_url", "image_url": {"url": data_url(found)}}

    def spoken(content: Any) -> Any:
        parts: list[Any] = [one.get("image", one.get("text")) for one in in_parts(content)]
        if all(isinstance(one, str) for one in parts):
            return "".join(parts)
        return [part(one) for one in parts if one != ""]

    said = conversation(question)
    turns = [{"role": "user", "content": said}] if isinstance(said, str) else said
    return [{**turn, "content": spoken(turn["content"])} for turn in turns]
