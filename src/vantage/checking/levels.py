"""How bad a finding is."""

from typing import Literal

Level = Literal["error", "warning", "note"]
