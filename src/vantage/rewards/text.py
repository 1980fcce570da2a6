"""Reading a response: its text, and the answer in its last box."""

from collections.abc import Mapping, Sequence

BOX = "\\boxed{"


def text(completion: str | Sequence[Mapping]) -> str:
    """The response as text, whether TRL hands over a text or a conversation."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)


def boxed(response: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, braces balanced; None without a whole one."""
    start = response.rfind(BOX)
    if start < 0:
        return None
    depth = 0
    for place in range(start + len(BOX) - 1, len(response)):
        depth += {"{": 1, "}": -1}.get(response[place], 0)
        if depth == 0:
            return response[start + len(BOX) : place].strip()
    return None
