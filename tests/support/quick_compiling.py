"""Settings of XLA for tests, whose time goes into compiling programs that hardly run."""

from __future__ import annotations

import mmap
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

DEVICES = "--xla_force_host_platform_device_count"
# Compiling takes a third of the time with them: passes over loops are slow on large programs, and
# LLVM is quicker with XLA's older emitters and where a program is not split.
_QUICK = {
    "xla_disable_hlo_passes": "while-loop-invariant-code-motion,simplify-while-loops,"
    "while-loop-constant-sinking",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
}

# What puts back the passes over a program, in its `compile`.
USUAL_PASSES: dict[str, str | bool] = {"xla_disable_hlo_passes": ""}


@cache
def _quick() -> tuple[str, ...]:
    """Those that this jaxlib knows: an unknown one ends the process."""
    spec = find_spec("jaxlib")
    folders = (spec and spec.submodule_search_locations) or ()
    libraries = (path for folder in folders for path in Path(folder).glob("libjax_common.*"))
    library = next(libraries, None)
    if library is None:
        return ()
    with library.open("rb") as file:
        binary = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # A flag's name is a string of its own there; the setting's name may outlive the flag.
        known = {name for name in _QUICK if binary.find(b"\0" + name.encode() + b"\0") >= 0}
    return tuple(f"--{name}={value}" for name, value in _QUICK.items() if name in known)


def xla_flags(devices: int = 1) -> str:
    """XLA_FLAGS for quick compiling on CPUs, with as many fake devices."""
    quick = _quick() if os.environ.get("JAX_PLATFORMS", "cpu") == "cpu" else ()
    return " ".join((*quick, f"{DEVICES}={devices}"))
