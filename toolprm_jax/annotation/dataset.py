"""The TFDS builder `toolprm_steps`: labelled rollouts by record, in ArrayRecord files.

It needs no TensorFlow. One example is a record with rollouts that follow each other in the steps
file, for those are trained as one tree. TFDS without TensorFlow writes no nested sequences, so the
steps (and token ids) of an example's completions lie end to end, with their numbers beside them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ..grammar import Kind
from ..records import (
    DataError,
    Position,
    Record,
    Row,
    json_line,
    open_rows,
    read_records,
    record_to_json,
    row_of,
    row_spans,
    spans_from,
)
from .labels import Step
from .split import SPLITS, SplitBy, split_of
from .steps_file import step_to_json
from .store import RecordStore

SHARD_EXAMPLES = 2048  # the writer holds the examples of one shard in memory, about 10 MB

_CITATION = """\
@inproceedings{toolprm2026,
  title = {ToolPRM: Fine-Grained Inference Scaling of Structured Outputs for Function Calling},
  booktitle = {Proceedings of the Annual Meeting of the Association for Computational Linguistics},
  year = {2026},
  note = {arXiv:2510.14703},
}"""


class ToolprmSteps(tfds.core.ShardBasedBuilder):
    """Function-calling rollouts whose every decision is labelled `+` or `-`.

    Args:
      steps: the steps file; `steps.jsonl` in the manual folder if None.
      store: the `RecordStore` of its records; built from `records.jsonl` in the manual folder if
        None.
      split_by: what keeps the records that train from those that test.
      file_format: only "array_record".
      **kwargs: those of every TFDS builder.

    Raises:
      ValueError: another file format.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012  TFDS reads it from the class
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put the output of toolprm-annotate there as steps.jsonl, and its records, in the format "
        "`record`, as records.jsonl."
    )

    def __init__(
        self,
        *,
        steps: str | os.PathLike[str] | None = None,
        store: str | os.PathLike[str] | None = None,
        split_by: SplitBy = "tools",
        file_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        if file_format not in (None, "array_record"):
            raise ValueError(f"file_format: expected array_record, found {file_format}")
        self._steps, self._store = steps, store
        self._split_by: SplitBy = split_by
        self._counted = tfds.core.MetadataDict()
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features
        each_completion = {
            "completion": (features.Text(), "what the policy sampled, UTF-8"),
            "correct": (features.Scalar(np.bool_), "whether its calls are the gold"),
            "error": (features.Text(), "why it left the grammar; empty if it did not"),
            "trailing": (features.Scalar(np.bool_), "whether other text follows the answer"),
            "num_steps": (features.Scalar(np.int32), "how many of `steps` are its own"),
            "num_token_ids": (features.Scalar(np.int32), "how many of `token_ids` are its own"),
        }
        return self.dataset_info_from_configs(
            description=__doc__ or "",
            homepage="https://arxiv.org/abs/2510.14703",
            citation=_CITATION,
            disable_shuffling=True,
            features=features.FeaturesDict(
                {
                    "id": features.Text(doc="the record"),
                    "record": features.Text(doc="the record as one line of record JSONL"),
                    "trajectories": features.Sequence(
                        {name: feature for name, (feature, _) in each_completion.items()},
                        doc="; ".join(
                            f"{name}: {doc}" for name, (_, doc) in each_completion.items()
                        ),
                    ),
                    "steps": features.Sequence(
                        {
                            "kind": features.ClassLabel(names=[kind.name for kind in Kind]),
                            "end": features.Scalar(np.int32),
                            "label": features.Scalar(np.bool_),
                            "prefix": features.Scalar(np.bool_),
                        },
                        doc="decisions of all completions, end to end; end: byte offset; "
                        "label, prefix: whether `+`",
                    ),
                    "token_ids": features.Sequence(
                        features.Scalar(np.int32),
                        doc="of all completions, end to end; empty where not known",
                    ),
                }
            ),
            metadata=self._counted,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[Callable[[], Iterator[tuple[int, dict[str, Any]]]]]]:
        steps, store = self._steps, self._store
        if steps is None or store is None:
            self._temporary = tempfile.TemporaryDirectory()
            steps = dl_manager.manual_dir / "steps.jsonl"
            store = Path(self._temporary.name) / "records.sqlite"
            with RecordStore(store, new=True) as new:
                records = dl_manager.manual_dir / "records.jsonl"
                new.add(read_records(records, "record", known=new))
        starts: dict[str, list[Position]] = {split: [] for split in SPLITS}
        counts: Counter[str] = Counter()
        with RecordStore(store) as records_:
            for start, record, lines in _groups(steps, records_):
                split = split_of(record, self._split_by)
                if counts[split] % SHARD_EXAMPLES == 0:
                    starts[split].append(start)
                counts[split] += 1
                counts[f"{split} trajectories"] += len(lines)
        if not starts["train"] and not starts["test"]:
            raise DataError(f"{steps}: expected a record whose gold tools are all of one split")
        self._counted.update(
            {
                "dropped_straddling_examples": counts["straddling"],
                "dropped_straddling_trajectories": counts["straddling trajectories"],
                "train_trajectories": counts["train trajectories"],
                "test_trajectories": counts["test trajectories"],
            }
        )
        return {
            split: [
                partial(_examples, steps, store, (split, self._split_by), start)
                for start in starts[split]
            ]
            for split in ("train", "test")
            if starts[split]
        }


def build(
    steps: str | os.PathLike[str],
    store: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    split_by: SplitBy = "tools",
) -> Path:
    """Builds the dataset; one that is there already is replaced.

    Args:
      steps: the steps file.
      store: the `RecordStore` with its records.
      folder: the TFDS data folder.
      split_by: what keeps the records that train from those that test.

    Returns:
      Where the dataset lies, for `tfds.builder_from_directory`.

    Raises:
      DataError: no record belongs to a split, or the dataset can't be written.
    """
    make = partial(
        ToolprmSteps, steps=steps, store=store, split_by=split_by, data_dir=os.fspath(folder)
    )
    place = Path(make().data_dir)
    for old in (place, *place.parent.glob(f"incomplete.*_{place.name}")):  # of a killed run
        shutil.rmtree(old, ignore_errors=True)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where TFDS would print its progress
            make().download_and_prepare()
    except RuntimeError as error:  # of the writer, as for a full disk
        raise DataError(f"{place}: can't be written: {error}") from None
    return place


def steps_lines(example: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of the steps file that an example was made of.

    Args:
      example: as the data source gives it.

    Returns:
      One line for each completion, in order.
    """
    lines: list[dict[str, Any]] = []
    of, steps = example["trajectories"], example["steps"]
    at = token = 0
    for row, completion in enumerate(of["completion"]):
        end = at + int(of["num_steps"][row])
        last = token + int(of["num_token_ids"][row])
        line: dict[str, Any] = {
            "id": _text(example["id"]),
            "completion": _text(completion),
            "steps": [
                step_to_json(
                    Step(
                        Kind(int(steps["kind"][i])),
                        int(steps["end"][i]),
                        bool(steps["label"][i]),
                        bool(steps["prefix"][i]),
                    )
                )
                for i in range(at, end)
            ],
            "correct": bool(of["correct"][row]),
            "error": _text(of["error"][row]) or None,
            "trailing": bool(of["trailing"][row]),
        }
        if last > token:
            line["token_ids"] = [int(i) for i in example["token_ids"][token:last]]
        lines.append(line)
        at, token = end, last
    return lines


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _groups(
    steps: str | os.PathLike[str], store: RecordStore, start: Position | None = None
) -> Iterator[tuple[Position, Record, list[Any]]]:
    """The lines of one record that follow each other: where they start, the record, the lines."""
    source = os.fspath(steps)
    with open_rows(steps) as file:
        spans = row_spans(file, source) if start is None else spans_from(file, source, start, None)
        rows = ((span.start, row_of(source, span)) for span in spans)
        for record_id, group in groupby(rows, lambda row: _id_of(row[1])):
            listed = list(group)
            found = store.get(record_id)
            if found is None:
                raise DataError(f"{listed[0][1].where}: id: expected the id of a record")
            yield listed[0][0], found[1], [row.value for _, row in listed]


def _id_of(row: Row) -> str:
    if row.problem or row.id is None or "steps" not in row.value:
        raise DataError(f"{row.where}: expected a line of a steps file")
    return row.id


def _examples(
    steps: str | os.PathLike[str],
    store: str | os.PathLike[str],
    split: tuple[str, SplitBy],
    start: Position,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The examples of one shard; they are keyed by their line in the steps file."""
    side, by = split
    with RecordStore(store) as records:
        groups = _groups(steps, records, start)
        chosen = (group for group in groups if split_of(group[1], by) == side)
        for position, record, lines in islice(chosen, SHARD_EXAMPLES):
            yield position.index, _example(record, lines)


def _example(record: Record, lines: list[Any]) -> dict[str, Any]:
    decisions = [step for line in lines for step in line["steps"]]
    return {
        "id": record.id,
        "record": json_line(record_to_json(record)),
        "trajectories": [
            {
                "completion": line["completion"].encode("utf-8", "surrogatepass"),
                "correct": line["correct"],
                "error": line["error"] or "",
                "trailing": line["trailing"],
                "num_steps": len(line["steps"]),
                "num_token_ids": len(line.get("token_ids", ())),
            }
            for line in lines
        ],
        "steps": [
            {
                "kind": step["kind"],
                "end": step["end"],
                "label": step["label"] == "+",
                "prefix": step["prefix"] == "+",
            }
            for step in decisions
        ],
        "token_ids": [token for line in lines for token in line.get("token_ids", ())],
    }
