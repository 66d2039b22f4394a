"""The full harness: `make faults` writes what came of every fault to runs/faults.json.

python tests/faults/run.py [--kills 50] [--full 5] [--damages 5] [--cases annotate,mask]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "support"))

from fault_cases import CASES, HEAVY, heavy_inputs, light_inputs
from fault_harness import Trial, damages, full_disks, kills
from fault_models import damaged_models

GOOD = (
    "as unbroken",
    "whole, and kept",
    "named",
    "row rejected",
    "had room",
    "ended before",
    "another input",
    "loaded",
)


def main() -> int:
    """Runs it; 1 if anything came out otherwise than it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each command")
    parser.add_argument("--full", type=int, default=5, help="full disks of each command")
    parser.add_argument("--damages", type=int, default=5, help="of each file that is read")
    parser.add_argument("--models", type=int, default=1000, help="damaged model directories")
    parser.add_argument("--cases", default=",".join(CASES), help="names, with commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/faults.json")
    args = parser.parse_args()
    names = [name for name in args.cases.split(",") if name]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = folder / "inputs"
        inputs.mkdir()
        heavy = any(case.name in names for case in HEAVY)
        (heavy_inputs if heavy else light_inputs)(inputs, 1500)
        for each in names:
            rng = random.Random(f"{args.seed}:{each}")
            trial = Trial(CASES[each], inputs, folder)
            found[each] = {
                "seconds": round(trial.seconds, 1),
                "killed": kills(trial, args.kills, rng),
                "full disk": full_disks(trial, args.full, rng),
                **damages(trial, inputs, args.damages, rng),
            }
            print(json.dumps({each: found[each]}), file=sys.stderr, flush=True)
        if args.models:
            found["models"] = {
                "damaged": damaged_models(folder, args.models, random.Random(args.seed))
            }
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps({"arguments": vars(args), **found}, indent=1) + "\n")
    counts = [c for case in found.values() for c in case.values() if isinstance(c, dict)]
    return int(any(outcome not in GOOD for count in counts for outcome in count))


if __name__ == "__main__":
    sys.exit(main())
