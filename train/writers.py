"""Where the metrics of a run go: metrics.jsonl; TensorBoard and Weights & Biases if asked."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from etils import epath

from toolprm_jax.records import DataError, parse_json


class Writer(Protocol):
    """Takes one line of metrics."""

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the metrics of a step."""
        ...


def write_whole(path: epath.Path, text: str) -> None:
    """Writes a text file that appears whole, or not at all."""
    draft = path.parent / f".{path.name}.tmp"
    draft.write_text(text)
    draft.replace(path)


@contextlib.contextmanager
def json_lines(path: epath.Path, resumed_at: int) -> Iterator[Writer]:
    """A file of JSON lines; those past the step that a run resumes at are dropped.

    Raises:
      DataError: the file holds something else.
    """
    text = path.read_text() if path.exists() else ""
    # The last one may be half a line.
    whole = [f"{line}\n" for line in text.split("\n")[:-1]]
    lines = [line for n, line in enumerate(whole, 1) if _step_of(f"{path}:{n}", line) <= resumed_at]
    write_whole(path, "".join(lines))
    if "://" in str(path):  # objects of a bucket can't be appended to

        def rewrite(step: int, values: Mapping[str, float]) -> None:
            lines.append(_line(step, values))
            write_whole(path, "".join(lines))

        yield rewrite
        return
    with path.open("a") as file:

        def append(step: int, values: Mapping[str, float]) -> None:
            file.write(_line(step, values))
            file.flush()

        yield append


def _step_of(where: str, line: str) -> int:
    try:
        step = parse_json(line)["step"]
    except (DataError, KeyError, TypeError):
        step = None
    if type(step) is not int:
        raise DataError(f"{where}: expected a line of metrics, with a step")
    return step


def _line(step: int, values: Mapping[str, float]) -> str:
    return json.dumps({"step": step, **{k: float(f"{v:.7g}") for k, v in values.items()}}) + "\n"


@contextlib.contextmanager
def tensorboard(folder: epath.Path, resumed_at: int) -> Iterator[Writer]:
    """TensorBoard event files, without TensorFlow.

    Raises:
      DataError: tensorboardX is not installed.
    """
    board = _module("tensorboardX", "tensorboard")
    # Events past the step that a run resumes at are hidden.
    writer = board.SummaryWriter(str(folder), purge_step=resumed_at + 1)

    def write(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            group = "eval" if name.startswith("eval_") else "train"
            writer.add_scalar(f"{group}/{name.removeprefix('eval_')}", value, step)
        writer.flush()

    try:
        yield write
    finally:
        writer.close()


@contextlib.contextmanager
def weights_and_biases(
    project: str, workdir: epath.Path, config: Mapping[str, Any]
) -> Iterator[Writer]:
    """A run of Weights & Biases; a resumed run goes on in the same one.

    Raises:
      DataError: wandb is not installed.
    """
    wandb = _module("wandb", "wandb")
    run_id = hashlib.sha256(str(workdir).encode()).hexdigest()[:16]
    run = wandb.init(
        project=project, id=run_id, name=workdir.name, resume="allow", config=dict(config)
    )
    try:
        yield lambda step, values: run.log(dict(values), step=step)
    finally:
        run.finish()


def _module(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError(
            f"{extra}: {name} is not installed; pip install 'toolprm-jax[{extra}]'"
        ) from None
