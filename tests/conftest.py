"""Settings that every test shares; set before JAX is imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

NUM_DEVICES = 8  # fake CPU devices, so that sharded code runs on any machine
_DEVICES_FLAG = "--xla_force_host_platform_device_count"
if _DEVICES_FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES_FLAG}={NUM_DEVICES}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# An accidental broadcast between ranks is a bug, not a convenience.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
# Plots are written to files only.
os.environ.setdefault("MPLBACKEND", "Agg")
# The tests read local files only; a hub name that slips in must fail at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Examples are derandomised everywhere: a failure in CI is the same failure here.
settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# `HYPOTHESIS_PROFILE=explore make test` looks for new examples.
settings.register_profile("explore", parent=settings.get_profile("default"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the repository, or a skip where it is absent."""
    path = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no public data sets at {path}")
    return path
