"""toolprm-train: trains a policy (`lm`) or a process reward model (`prm`)."""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.util
import inspect
import logging
import pkgutil
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import configs
from toolprm_jax.command import Parser, add_plan, run_command
from toolprm_jax.records import DataError

from .settings import Config, check_config

STOPPED = 128 + signal.SIGTERM  # as a shell says it of a process that SIGTERM ended
_log = logging.getLogger(__name__)


def _config_file(name: str) -> Path:
    """The file of a config, which is named by its path or, one of `configs`, by its name alone.

    Raises:
      DataError: there is none.
    """
    path = Path(name)
    if path.suffix != ".py" and name.isidentifier():
        spec = importlib.util.find_spec(f"configs.{name}")
        if spec is not None and spec.origin is not None:
            return Path(spec.origin)
        known = sorted(m.name for m in pkgutil.iter_modules(configs.__path__) if m.name != "base")
        raise DataError(f"{name}: no such config; expected a file or one of {', '.join(known)}")
    if not path.is_file():
        raise DataError(f"{path}: no such config file")
    return path


def load_config(name: str | Path) -> Config:
    """The config that a Python file's `get_config()` returns.

    Args:
      name: the file, or the name of one of `configs`; NAME:VARIANT gives `get_config` the variant.

    Raises:
      DataError: no such file, or it raises, or has no get_config(), or one without variants.
    """
    match = re.fullmatch(r"(.*?)(?::(\w+))?", str(name))
    assert match is not None
    path, variant = _config_file(match[1]), match[2]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path}: expected a Python file with get_config()")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise DataError("expected a function get_config()")
        if variant is not None and not inspect.signature(module.get_config).parameters:
            raise DataError(f"expected no variant, found {variant!r}")
        config = module.get_config() if variant is None else module.get_config(variant)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:  # it is the user's program
        raise DataError(f"{path}: {type(error).__name__}: {error}") from None
    if not isinstance(config, ConfigDict):
        found = type(config).__name__
        raise DataError(f"{path}: expected get_config() to return a ConfigDict, found {found}")
    return config


def _keys(config: Any, before: str = "") -> list[str]:
    """The keys of a config, those of its parts with dots."""
    found: list[str] = []
    for name, value in config.items():
        inner = isinstance(value, ConfigDict)
        found += _keys(value, f"{before}{name}.") if inner else [f"{before}{name}"]
    return found


def override(config: Config, setting: str) -> None:
    """Applies `--config.key=value` to a config; the value takes the type of the one it replaces.

    Raises:
      DataError: no such key, or a value of another type.
    """
    key, equals, text = setting.removeprefix("--config.").partition("=")
    *parents, name = key.split(".")
    node: Any = config
    for parent in parents:
        node = node.get(parent) if isinstance(node, ConfigDict) else None
    if not equals or not isinstance(node, ConfigDict) or name not in node:
        known = difflib.get_close_matches(key, _keys(config), n=3)
        hint = f", such as {', '.join(known)}" if known else "; configs/base.py lists them"
        raise DataError(
            f"{setting}: expected --config.KEY=VALUE with a key of the config{hint}, found {key!r}"
        )
    old = node[name]
    if isinstance(old, str):
        node[name] = text
        return
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if isinstance(old, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(old):
        raise DataError(f"{setting}: expected {type(old).__name__}, found {text!r}")
    node[name] = value


def _steps(text: str) -> range:
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None or not 0 < int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"expected FIRST:LAST, as in 10:12, found {text!r}")
    return range(int(match[1]), int(match[2]) + 1)


def connect(text: str) -> None:
    """Joins the processes of a job; before anything else of JAX.

    Args:
      text: "auto" on a cluster that JAX recognises (Cloud TPU, SLURM, Kubernetes), else
        HOST:PORT,INDEX,COUNT.

    Raises:
      DataError: it is neither.
    """
    import jax

    match = re.fullmatch(r"(.+:\d{1,5}),(\d{1,6}),(\d{1,6})", text)
    if text != "auto" and (match is None or int(match[2]) >= int(match[3])):
        raise DataError(f"--distributed={text}: expected auto or HOST:PORT,INDEX,COUNT")
    try:
        if match is None:
            jax.distributed.initialize()
        else:
            address, index, count = match.groups()
            jax.distributed.initialize(address, num_processes=int(count), process_id=int(index))
    except (RuntimeError, ValueError) as error:
        raise DataError(f"--distributed={text}: {error}") from None


def parser() -> Parser:
    """The command's arguments."""
    out = Parser(
        "toolprm-train",
        "Trains a policy or a process reward model. --config.KEY=VALUE replaces one value of the "
        "config, as in --config.steps=100. SIGTERM ends it with a checkpoint and exit status 143.",
    )
    out.add_argument(
        "--config",
        required=True,
        help="one of ours by name, or a file; its variant behind it, as in smollm2_prm:orm",
    )
    out.add_argument(
        "--workdir",
        help="checkpoints, metrics.jsonl and model/; may be gs://, with the extra [gcs]",
    )
    out.add_argument(
        "--resume",
        choices=("auto", "never"),
        default="auto",
        help="auto goes on from the newest whole checkpoint (default); never refuses a workdir "
        "that is not empty",
    )
    out.add_argument(
        "--distributed",
        metavar="auto|HOST:PORT,INDEX,COUNT",
        help="this is one process of several: auto where JAX finds the others by itself",
    )
    out.add_argument(
        "--profile",
        type=_steps,
        default=range(0),
        metavar="FIRST:LAST",
        help="writes a jax.profiler trace of these steps to WORKDIR/profile (default: of none)",
    )
    add_plan(out, "a step", "--config.init")
    return out


def _is_told_once(record: logging.LogRecord) -> bool:
    """Each of Orbax's threads logs the exception that ends the run, with a traceback."""
    return not (record.exc_info and "orbax" in record.pathname)


def _train(args: argparse.Namespace, rest: Sequence[str]) -> int:
    # JAX takes seconds to import, and --help and the checks of a config need none of it.
    logging.basicConfig(level=logging.WARNING, format="toolprm-train: %(message)s")
    logging.getLogger("train").setLevel(logging.INFO)
    logging.getLogger("absl").addFilter(_is_told_once)
    unknown = [argument for argument in rest if not argument.startswith("--config.")]
    if unknown:
        raise DataError(f"unknown argument {unknown[0]}")
    config = load_config(args.config)
    for setting in rest:
        override(config, setting)
    check_config(config)
    config.lock()
    if args.plan:
        from .plan import run_plan

        run_plan(config, args.topology)
        return 0
    if args.workdir is None:
        raise DataError("--workdir: expected a directory")
    import jax

    from toolprm_jax.model.files import absolute_path

    from .loop import DivergedError, run

    workdir = absolute_path(args.workdir)
    if args.distributed:
        connect(args.distributed)
    try:
        done = run(config, workdir, resume=args.resume == "auto", profile=args.profile)
    except (DivergedError, ValueError) as error:
        raise DataError(str(error)) from None
    if not done.finished:
        _log.warning("stopped by SIGTERM after step %d; the same command goes on", done.step)
        return STOPPED
    if jax.process_count() == 1:
        print(f"step {done.step}: the model is in {workdir / 'model'}", file=sys.stderr)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `toolprm-train`.

    Args:
      argv: the arguments; those of the process if None.

    Returns:
      The exit status: 0; 2 for input that can't be used and a run that diverged; 143 for a run
      that SIGTERM stopped, so that what would follow a finished run doesn't.
    """
    rest: list[str] = []
    return run_command(parser(), lambda args: _train(args, rest), argv, rest)


if __name__ == "__main__":
    sys.exit(main())
