"""Inputs of hostile cases: a tiny model, rows, a successful run, and a server."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROWS = [{"question": f"Add {n} and {n + 1}.", "answer": str(2 * n + 1)} for n in range(8)]


@dataclass(frozen=True)
class Shared:
    """What all cases may read.

    Attributes:
        model: directory of a model with a processor.
        text_model: directory of one that reads text alone.
        rows: a good file of rows.
        run: a finished run with a record and checkpoints.
        results: of an evaluation of a model behind that server.
        url: of a server that answers as the name of the model says.
    """

    model: Path
    rows: Path
    run: Path
    results: Path
    url: str


def build(folder: Path) -> Shared:
    """All inputs of the cases."""
    from vantage.demo import model

    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    made = Path(model.build(folder / "model", seed=0))
    url = serve()
    return Shared(made, rows, _trained(folder, made, rows), _evaluated(folder, rows, url), url)


def settings(model: object, rows: object, output: object) -> dict:
    """A configuration of a run of one batch."""
    return {
        "model": {"path": str(model)},
        "data": {"train": str(rows), "template": "{question}"},
        "batch": {"questions": 2, "rollouts": 2, "micro_batch": 4},
        "generation": {"max_tokens": 4},
        "optimizer": {"learning_rate": 1e-3},
        "rewards": {"accuracy": 1.0},
        "run": {"output": str(output), "batches": 2, "save_every": 1},
        "trl": {"use_cpu": True, "bf16": False, "gradient_checkpointing": False},
    }


def _trained(folder: Path, model: Path, rows: Path) -> Path:
    from vantage import config
    from vantage.training.trl import run

    made = config.parse(settings(model, rows, folder / "run"))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run.train(made)
    return folder / "run"


def _evaluated(folder: Path, rows: Path, url: str) -> Path:
    from vantage.chat.server import Settings
    from vantage.evaluation import run
    from vantage.evaluation.question_sets import question_sets
    from vantage.evaluation.sampling import Sampling
    from vantage.questions.layouts import Columns

    asked = question_sets([str(rows)], limit=2, split="train", columns=Columns())
    model = run.model_of("m", Sampling(1), Settings(url, "m"), batch=1, concurrency=1)
    run.evaluate(asked, model, folder / "results", name="m", framing=run.Framing())
    return folder / "results"


def serve() -> str:
    """Start a server in a thread; its address, up to /v1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1"


class _Answers(BaseHTTPRequestHandler):
    """Answers as `SERVERS` has it under the name of the model that is asked for."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        name = str(asked.get("model"))
        with contextlib.suppress(OSError):
            SERVERS.get(name, said("7"))(self)

    def do_GET(self) -> None:
        with contextlib.suppress(OSError):
            answer(200, {"object": "list", "data": []})(self)

    def log_message(self, *words: object) -> None:
        """Nothing."""


def answer(status: int, body: object, **headers: str):
    """A server's answer: JSON, or bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        if "content_length" not in headers:
            handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return send


def said(content: object, **more: object):
    """An answer in OpenAI's protocol."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    made = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    return answer(200, {**made, "choices": [choice], "usage": usage, **more})


def _endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * (1 << 20))


def _closed(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.close()


def _garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\xff" * 500)


SERVERS = {
    "no-json": answer(200, b"<html>"),
    "empty": answer(200, b""),
    "a-list": answer(200, []),
    "a-number": answer(200, b"7"),
    "null": answer(200, b"null"),
    "nan": answer(200, b'{"choices": [{"message": {"content": "7"}}], "usage": NaN}'),
    "deep": answer(200, b"[" * 100_000),
    "many-digits": answer(200, b'{"choices": ' + b"9" * 100_000 + b"}"),
    "no-choices": said("7", choices=[]),
    "choices-null": said("7", choices=None),
    "choices-text": said("7", choices="x"),
    "message-null": said("7", choices=[{"index": 0, "message": None, "finish_reason": "stop"}]),
    "content-null": said(None),
    "content-list": said([{"type": "text", "text": "7"}]),
    "content-object": said({"a": 1}),
    "content-number": said(7),
    "surrogates": answer(
        200, b'{"choices": [{"message": {"content": "\\ud800", "role": "assistant"}}]}'
    ),
    "controls": said("\x1b]0;owned\x07\x1b[2J\x00\x9b"),
    "long": said("word " * 2_000_000),
    "usage-text": said("7", usage="many"),
    "usage-list": said("7", usage=[1]),
    "usage-negative": said("7", usage={"prompt_tokens": -(10**30), "completion_tokens": 1e400}),
    "endless": _endless,
    "closed": _closed,
    "garbage": _garbage,
    "error-400": answer(400, {"error": {"message": "\x1b[31mno\x1b[0m"}}),
    "error-401": answer(401, {"error": {"message": "key sk-secret"}}),
    "error-500": answer(500, b"\xff\xfe"),
    "error-text": answer(404, {"error": "x" * 1_000_000}),
    "busy": answer(429, {"error": {"message": "slow down"}}, retry_after="1"),
    "busy-forever": answer(429, {"error": {"message": "no"}}, retry_after="99999999999"),
    "busy-words": answer(503, {"error": {"message": "no"}}, retry_after="soon"),
    "elsewhere": answer(307, b"", location="http://192.0.2.1/v1/chat/completions"),
    "to-file": answer(302, b"", location="file:///etc/passwd"),
    "loop": answer(307, b"", location="/v1/chat/completions"),
    "gzip": answer(200, b"\x1f\x8b" + b"\x00" * 50, content_encoding="gzip"),
    "bomb": answer(200, gzip.compress(b" " * 300_000_000, 1), content_encoding="gzip"),
    "short": answer(200, b"{}", content_length="1000"),
    "charset": answer(200, b"{}", content_type="application/json; charset=nothing"),
    "many-headers": answer(200, b"{}", **{f"x_{n}": "y" * 100 for n in range(90)}),
}
