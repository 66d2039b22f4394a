"""Settings of XLA for tests, whose time goes into compiling programs that hardly run."""

from __future__ import annotations

import mmap
from functools import cache
from importlib.util import find_spec
from pathlib import Path

DEVICES = "--xla_force_host_platform_device_count"
# Together they take a third of the time: the loops' passes are slow for large programs, and LLVM
# is quicker over what XLA writes itself, in one piece.
_QUICK = {
    "xla_disable_hlo_passes": "while-loop-invariant-code-motion,simplify-while-loops,"
    "while-loop-constant-sinking",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
}


@cache
def _quick() -> tuple[str, ...]:
    """Those that this jaxlib knows, for one that it doesn't ends the process."""
    spec = find_spec("jaxlib")
    folders = (spec and spec.submodule_search_locations) or ()
    for library in (path for folder in folders for path in Path(folder).glob("libjax_common.*")):
        with library.open("rb") as file:
            binary = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            known = {name for name in _QUICK if binary.find(name.encode()) >= 0}
        return tuple(f"--{name}={value}" for name, value in _QUICK.items() if name in known)
    return ()


def xla_flags(devices: int = 1) -> str:
    """XLA_FLAGS for quick compiling, with as many fake devices."""
    return " ".join((*_quick(), f"{DEVICES}={devices}"))
