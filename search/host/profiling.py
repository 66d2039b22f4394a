"""Where the seconds of a search go: a profiler trace, its operations summed up by part."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData, ProfileOptions

from ..core import CACHE, POLICY, REWARD

BOOKKEEPING = "bookkeeping"  # all that no scope names
PARTS = (POLICY, REWARD, CACHE, BOOKKEEPING)

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = .*?(?:op_name=\"([^\"]*)\".*)?$", re.M)
_HOST_EVENTS = 2  # the level at which operations on a CPU are recorded


def parts_of(hlo: str) -> dict[str, str]:
    """The part of every instruction of a compiled program, by its name.

    Args:
      hlo: text of the compiled program.
    """
    found = {}
    for name, scopes in _INSTRUCTION.findall(hlo):
        inside = scopes.split("/")
        found[name] = next((part for part in PARTS if part in inside), BOOKKEEPING)
    return found


def own_seconds(spans: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """Seconds of each name without those of the spans inside of it.

    Args:
      spans: (name, start, end) in nanoseconds, of one thread: any two are nested or apart.
    """
    out: dict[str, float] = {}
    above: list[tuple[str, float]] = []
    for name, start, end in sorted(spans, key=lambda span: (span[1], -span[2])):
        while above and above[-1][1] <= start:
            above.pop()
        seconds = (end - start) / 1e9
        out[name] = out.get(name, 0.0) + seconds
        if above:
            out[above[-1][0]] -= seconds
        above.append((name, end))
    return out


def instruction_of(event: Any) -> str:
    """Name of the instruction that an event of a trace is of."""
    # A GPU's events are kernels, and name it beside; a TPU's are named by its whole text.
    name = str(dict(event.stats).get("hlo_op", event.name))
    return name.partition(" = ")[0].lstrip("%")


def recorded_seconds(trace: Path, parts: dict[str, str]) -> dict[str, float]:
    """Seconds of a program by part, summed over threads, from the newest trace in a directory.

    Args:
      trace: where `jax.profiler.trace` has written.
      parts: of the program's instructions.
    """
    newest = max(trace.glob("plugins/profile/*/*.xplane.pb"), key=lambda p: p.stat().st_mtime)
    out: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for plane in ProfileData.from_file(str(newest)).planes:
        for line in plane.lines:
            named = ((instruction_of(event), event) for event in line.events)
            spans = [(name, e.start_ns, e.end_ns) for name, e in named if name in parts]
            for name, seconds in own_seconds(spans).items():
                out[parts[name]] += seconds
    return out


def profiled(
    program: Any, inputs: tuple[Any, ...], directory: str | Path
) -> tuple[Any, dict[str, float]]:
    """Runs a compiled program under the profiler.

    Args:
      program: from `jax.jit(...).lower(...).compile()`.
      inputs: its arguments.
      directory: where the trace is kept, for XProf or Perfetto.

    Returns:
      What the program returns, on the host, and its seconds by the clock, which the parts share
      as they share the operations' seconds on all threads (our choice: parts may run side by side).
    """
    options = ProfileOptions()
    options.python_tracer_level = 0
    options.host_tracer_level = _HOST_EVENTS
    with jax.profiler.trace(str(directory), profiler_options=options):
        start = time.perf_counter()
        output = jax.device_get(program(*inputs))
        elapsed = time.perf_counter() - start
    recorded = recorded_seconds(Path(directory), parts_of(program.as_text()))
    total = sum(recorded.values())
    if total == 0:
        raise RuntimeError(f"{directory}: the trace holds none of the program's operations")
    return output, {part: elapsed * seconds / total for part, seconds in recorded.items()}
