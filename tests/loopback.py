"""A local server with OpenAI's chat API that answers, or misbehaves, as a test scripts it."""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
# What is sent instead of an answer: (status, body, further headers).
BAD = {
    "429": (429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0"}),
    "500": (500, b'{"error": {"message": "oops"}}', {}),
    "400": (400, b'{"error": {"message": "too long"}}', {}),
    "401": (401, b'{"error": {"message": "who are you"}}', {}),
    "404": (404, b'{"error": {"message": "no such model"}}', {}),
    "quota": (429, b'{"error": {"code": "insufficient_quota", "message": "pay"}}', {}),
    "half": (200, b'{"choices": [{"mess', {"Content-Length": "500"}),
    "no json": (200, b'{"choices": [', {}),
    "a list": (200, b"[]", {}),
    "null": (200, b"null", {}),
}


def ways(question: str, variants: int) -> list[str]:
    """Rewrites that the guards let pass."""
    return [f"Please tell me {'now ' * n}the following thing: {question}" for n in range(variants)]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default of 5 drops connections that come together


class Loopback:
    """Answers a question as its script says, by attempt; the last of the script stays.

    Scripts hold names of BAD, "slow", texts (callables of the question give texts), or nothing
    for two good rewrites. `asked` and `answered` count requests and whole answers by question.
    """

    def __init__(self, scripts=None, judge="yes", delay=0.0):
        self.scripts, self.judge, self.delay = scripts or {}, judge, delay
        self.asked, self.answered, self.bodies = Counter(), Counter(), []
        self.most, self._now, self._lock = 0, 0, threading.Lock()

    def __enter__(self):
        self._server = Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def reply(self, body) -> tuple[str, object]:
        """The question and what is said to it."""
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        if "\n\nFirst:\n" in text:
            question = "judge: " + text.partition("\n\nSecond:\n")[2]
            said = self.judge if isinstance(self.judge, str) else self.judge(question)
            return question, said
        question = text.partition("Question:\n")[2]
        script = self.scripts.get(question, [json.dumps(ways(question, 2))])
        with self._lock:
            said = script[min(self.asked[question], len(script) - 1)]
        return question, said

    def _handler(loopback):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question, said = loopback.reply(body)
                with loopback._lock:
                    loopback.bodies.append(body)
                    loopback.asked[question] += 1
                    loopback._now += 1
                    loopback.most = max(loopback.most, loopback._now)
                time.sleep(1.5 if said == "slow" else loopback.delay)
                with loopback._lock:
                    loopback._now -= 1
                try:
                    self.say(said)
                    with loopback._lock:
                        loopback.answered[question] += said not in BAD and said != "slow"
                except OSError:
                    pass  # nobody waits for it any more

            def say(self, said):
                choices = [{"index": 0, "message": {"role": "assistant", "content": said}}]
                good = {"id": "1", "choices": [] if said == "" else choices, "usage": USAGE}
                status, whole, headers = BAD.get(said, (200, json.dumps(good).encode(), {}))
                self.send_response(status)
                headers = {"Content-Length": str(len(whole)), **headers}
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(whole)
                self.close_connection = said == "half"

        return Handler
