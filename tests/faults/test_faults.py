"""A little of what `make faults` does: kills, full disks and damage, of the light commands."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from fault_cases import LIGHT, Case, light_inputs
from fault_harness import Trial, damages, full_disks, kills
from fault_models import damaged_models


def test_a_damaged_model_is_refused_by_name_or_read(tmp_path: Path) -> None:
    found = damaged_models(tmp_path, 40, random.Random(0))
    assert set(found) == {"named", "loaded"}, found
    assert found["named"] > found["loaded"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    light_inputs(folder, 60)
    return folder


@pytest.mark.parametrize("case", LIGHT, ids=lambda case: case.name)
def test_every_fault_ends_as_unbroken_or_is_told(case: Case, inputs: Path, tmp_path: Path) -> None:
    trial, rng = Trial(case, inputs, tmp_path), random.Random(case.name)
    assert set(kills(trial, 4, rng)) <= {"as unbroken", "ended before"}
    assert full_disks(trial, 2, rng) == Counter({"as unbroken": 2})
    found = damages(trial, inputs, 1, rng)
    assert set(found["missing"]) == {"named"}
    # A flipped bit may leave other rows that are as good; nothing can tell these apart.
    assert set().union(*found.values()) <= {"named", "row rejected", "as unbroken", "another input"}
