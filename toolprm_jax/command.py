"""What the console commands share: an argument parser and one-line errors."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from .records import DataError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `DataError`s, so that they print as one line."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises the message as a `DataError`."""
        raise DataError(f"{message} (see {self.prog} --help)")


def run_command(
    parser: Parser,
    body: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None,
    others: list[str] | None = None,
) -> int:
    """Parses the arguments and runs a command.

    Args:
      parser: knows the arguments and the command's name.
      body: the command; returns its exit status.
      argv: the arguments; those of the process if None.
      others: receives the arguments that the parser doesn't know; an error if None.

    Returns:
      The exit status: 2, after one line on standard error, for input that can't be used.
    """
    try:
        if others is None:
            return body(parser.parse_args(argv))
        args, unknown = parser.parse_known_args(argv)
        others.extend(unknown)
        return body(args)
    except DataError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    print(f"{parser.prog}: error: {' '.join(reason.split())}", file=sys.stderr)
    return 2


def distinct_files(**paths: str | None) -> None:
    """Checks that no file is named twice.

    Args:
      **paths: path by flag name; None where the flag wasn't given.

    Raises:
      DataError: names the two flags.
    """
    seen: dict[str, str] = {}
    for flag, path in paths.items():
        if path is None:
            continue
        if path in seen:
            raise DataError(f"--{flag}: expected another file than --{seen[path]}, found {path}")
        seen[path] = flag


def whole_number(least: int) -> Callable[[str], int]:
    """An argparse type: an integer of at least `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected an integer >= {least}, found {text!r}")
        return value

    return parse


def _number(text: str) -> float:
    """What a text says as a number; NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def temperature(text: str) -> float:
    """An argparse type: a finite number of at least 0."""
    value = _number(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number >= 0, found {text!r}")
    return value


def finite(text: str) -> float:
    """An argparse type: a finite number."""
    value = _number(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}")
    return value


def probability(text: str) -> float:
    """An argparse type: a number above 0 and at most 1."""
    value = _number(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a number in (0, 1], found {text!r}")
    return value
