"""Settings that every test shares; set before JAX is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from quick_compiling import DEVICES, xla_flags

if TYPE_CHECKING:  # at run time imported where used, for the tests of rooms without JAX
    from transformers import PreTrainedTokenizerBase

    from toolprm_jax.tokens.codec import Codec

NUM_DEVICES = 8  # fake CPU devices, so that sharded code runs on any machine
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if DEVICES not in os.environ.get("XLA_FLAGS", ""):
    # The last of two equal flags counts: what was set before stays.
    os.environ["XLA_FLAGS"] = f"{xla_flags(NUM_DEVICES)} {os.environ.get('XLA_FLAGS', '')}"
# Compiling takes most of the tests' time: half of it without LLVM's expensive passes.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# An accidental broadcast between ranks is a bug, not a convenience.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
# What the tests compile is of no use to anybody later.
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")
# Plots are written to files only.
os.environ.setdefault("MPLBACKEND", "Agg")
# The tests read local files only; a hub name that slips in must fail at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Examples are derandomised everywhere: a failure in CI is the same failure here.
settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# `HYPOTHESIS_PROFILE=explore make test` looks for new examples.
# With EXAMPLES, as many of each test, and `--hypothesis-seed` says which.
settings.register_profile(
    "explore",
    parent=settings.get_profile("default"),
    derandomize=False,
    max_examples=int(os.environ.get("EXAMPLES", "100")),
    database=None,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# Folders whose tests compile models or start processes, and their files that don't.
_SLOW = {"configs", "faults", "model", "search", "train"}
_FAST = {"test_hf_config.py", "test_evaluate.py", "test_report.py", "test_data.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what `make check` leaves out."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in _SLOW and item.path.name not in _FAST:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs() -> Iterator[None]:
    """Frees what a module compiled: thousands of programs exceed a process's memory mappings."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the repository, or a skip where it is absent."""
    path = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no public data sets at {path}")
    return path


@pytest.fixture(scope="session")
def small_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer trained on a little of the embedded corpus."""
    from toolprm_jax.toolworld.tokenizer import corpus_texts, train_tokenizer

    return train_tokenizer(corpus_texts(0, 50))


@pytest.fixture(scope="session")
def small_codec(small_tokenizer: PreTrainedTokenizerBase) -> Codec:
    """The small tokenizer under the compact template, for a ToolPRM on plain labels."""
    from toolprm_jax.tokens.codec import Codec
    from toolprm_jax.tokens.contract import make_contract
    from toolprm_jax.toolworld.tokenizer import EMBEDDING_ROWS

    contract = make_contract(small_tokenizer, EMBEDDING_ROWS, "compact", "toolprm", "label")
    return Codec(small_tokenizer, contract)


@pytest.fixture(scope="session")
def qwen_tokenizer(shared_data: Path) -> PreTrainedTokenizerBase:
    """The real tokenizer of Qwen2."""
    from toolprm_jax.tokens.codec import load_tokenizer

    return load_tokenizer(shared_data / "qwen2-tokenizer")
