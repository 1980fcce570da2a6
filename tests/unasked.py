"""A guard for tests of untrusted data that catches network access in any process."""

import socket
from pathlib import Path

import pytest


class AskedError(BaseException):
    """Something asked the network; no `except Exception` hides it."""


def guard(monkeypatch: pytest.MonkeyPatch, canary: Path) -> None:
    """No name is looked up and nothing is connected to; `canary` appears where it was tried.

    The hub's own switch is off, so that it hides nothing.
    """

    def caught(*arguments, **_):
        with canary.open("a") as file:
            file.write(f"{arguments}\n")
        raise AskedError(arguments)

    for module in ("datasets.config", "huggingface_hub.constants"):
        monkeypatch.setattr(f"{module}.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", caught)
    monkeypatch.setattr(socket.socket, "connect", caught)
    monkeypatch.setattr(socket.socket, "connect_ex", caught)
