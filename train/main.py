"""toolprm-train: trains a policy (`lm`) or a process reward model (`prm`)."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from toolprm_jax.annotation.records import DataError

from .build import Config
from .loop import DivergedError, run


def load_config(path: Path) -> Config:
    """The config that a Python file's `get_config()` returns.

    Raises:
      DataError: no such file, or it has no get_config().
    """
    if not path.is_file():
        raise DataError(f"{path}: no such config file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path}: expected a Python file with get_config()")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise DataError(f"{path}: expected a function get_config()")
    return module.get_config()


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
        raise DataError(f"{setting}: expected --config.KEY=VALUE with a key of the config")
    old = node[name]
    if isinstance(old, str):
        node[name] = text
        return
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        value = text
    if isinstance(old, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(old):
        raise DataError(f"{setting}: expected {type(old).__name__}, found {text!r}")
    node[name] = value


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `toolprm-train`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="toolprm-train",
        description=__doc__,
        epilog="--config.KEY=VALUE replaces one value of the config, e.g. --config.steps=100.",
    )
    parser.add_argument("--config", type=Path, required=True, help="a file of configs/")
    parser.add_argument(
        "--workdir", type=Path, required=True, help="checkpoints, metrics.jsonl and model/"
    )
    parser.add_argument(
        "--resume",
        choices=("auto", "never"),
        default="auto",
        help="auto goes on from the newest whole checkpoint (default)",
    )
    options, rest = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.WARNING, format="toolprm-train: %(message)s")
    logging.getLogger("train").setLevel(logging.INFO)
    try:
        unknown = [argument for argument in rest if not argument.startswith("--config.")]
        if unknown:
            raise DataError(f"unknown argument {unknown[0]}")
        config = load_config(options.config)
        for setting in rest:
            override(config, setting)
        config.lock()
        run(config, options.workdir, resume=options.resume == "auto")
    except (DataError, DivergedError, ValueError, OSError) as error:
        print(f"toolprm-train: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
