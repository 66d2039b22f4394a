"""Where the embedded models lie; imports nothing, for the library loads them by name."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
EMBEDDED = {f"embedded:{role}": _HERE / role for role in ("policy", "prm")}
TOKENIZER = _HERE / "smollm2"  # of the installed base
