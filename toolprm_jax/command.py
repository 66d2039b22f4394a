"""What the console commands share: an argument parser and one-line errors."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn, Protocol, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le

from .records import FORMATS, DataError, check_place


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `DataError`s, so that they print as one line.

    Options are spelled with dashes, and found with underscores too; the help of each says its
    default, or that it is required.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises the message as a `DataError`."""
        raise DataError(f"{message} (see {self.prog} --help)")

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Adds an argument, its default or that it is required behind its help."""
        text, default = options.get("help") or "", options.get("default")
        if options.get("required"):
            options["help"] = f"{text} (required)".strip()
        elif default not in (None, "", argparse.SUPPRESS) and "(default" not in text:
            options["help"] = f"{text} (default: %(default)s)".strip()
        return super().add_argument(*names, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses the arguments, underscores in an option's name taken for dashes."""
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._dashed(text) for text in given], namespace)

    def _dashed(self, text: str) -> str:
        name, equals, value = text.partition("=")
        dashed = name.replace("_", "-")
        known = name.startswith("--") and dashed in self._option_string_actions
        return f"{dashed}{equals}{value}" if known else text


def add_fields(parser: Parser, spec: Any, *names: str, **defaults: Any) -> None:
    """Adds an option for each of some fields of a dataclass.

    Type, choices, bounds (`annotated_types`) and default are the field's, the help is what the
    class's docstring says of it under `Attributes`.

    Args:
      parser: gets the options.
      spec: the dataclass.
      *names: of the fields, each with a plain default.
      **defaults: of fields whose option has another.
    """
    helps = _attributes(spec)
    hints = get_type_hints(spec, include_extras=True)
    defaults = {field.name: field.default for field in dataclasses.fields(spec)} | defaults
    for name in names:
        options: dict[str, Any] = {
            "default": defaults[name],
            "help": helps[name].replace("%", "%%"),
        }
        hint, bounds = hints[name], ()
        if get_origin(hint) is Annotated:
            hint, *bounds = get_args(hint)
        if get_origin(hint) is Literal:
            options["choices"] = get_args(hint)
        elif hint is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = number(int if hint is int else float, *bounds)
        parser.add_argument(f"--{name.replace('_', '-')}", **options)


def _attributes(spec: Any) -> dict[str, str]:
    """What a docstring says under `Attributes`, by name."""
    section = (inspect.getdoc(spec) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", section, re.M)
    return {name: " ".join(text.split()).rstrip(".") for name, text in entries}


INTERRUPTED = 130  # as a shell says it of a process that SIGINT ended


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
      The exit status: 2, after one line on standard error, for input that can't be used; 130 for
      Ctrl-C.
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
    except MemoryError as error:
        reason = f"not enough memory: {error}".removesuffix(": ")
    except RuntimeError as error:
        if type(error).__name__ != "JaxRuntimeError":  # named, for commands without JAX
            raise
        reason = f"the device: {error}"
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    print(f"{parser.prog}: error: {printable(' '.join(reason.split()))}", file=sys.stderr)
    return 2


class Main(Protocol):
    """The `main` of a command."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command with arguments, those of the process if None; its exit status."""
        ...


def command(parser: Callable[[], Parser], body: Callable[[argparse.Namespace], int]) -> Main:
    """The `main` of a command.

    Args:
      parser: makes the parser that knows the arguments and the command's name.
      body: the command; returns its exit status.

    Returns:
      A function that returns the exit status: that of `body`, or 2 for input that can't be used.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        return run_command(parser(), body, argv)

    return main


def add_format(parser: Parser) -> None:
    """Adds --format, that of the file of --records."""
    parser.add_argument(
        "--format", choices=FORMATS, help="format of the records; recognised if not given"
    )


def add_plan(parser: Parser, what: str, model: str) -> None:
    """Adds --plan and --topology.

    Args:
      parser: of a command.
      what: is planned.
      model: the argument that may be a shape.
    """
    parser.add_argument(
        "--plan",
        action="store_true",
        help=f"only tells what {what} needs on a device; {model} may be the shape of a published "
        "one, such as shape:qwen2.5-3b",
    )
    parser.add_argument("--topology", help="plan for a TPU slice that isn't here, such as v5e:2x4")


def check_files(inputs: Mapping[str, str | None], outputs: Mapping[str, str | None]) -> None:
    """Checks before the work that outputs can be written, and are neither inputs nor each other.

    Args:
      inputs: path by flag name; None where the flag wasn't given.
      outputs: likewise.

    Raises:
      DataError: names the flags.
    """
    for flag, path in inputs.items():
        distinct_files(**{flag: path}, **outputs)
    distinct_files(**outputs)
    for flag, path in outputs.items():
        if path is not None:
            try:
                check_place(path)
            except DataError as error:
                raise DataError(f"--{flag}: {error}") from None


def distinct_files(**paths: str | None) -> None:
    """Checks that no file is named twice, by another spelling or a link either.

    Args:
      **paths: path by flag name; None where the flag wasn't given.

    Raises:
      DataError: names the two flags.
    """
    seen: dict[object, str] = {}
    for flag, path in paths.items():
        for same in () if path is None else _identities(path):
            other = seen.setdefault(same, flag)
            if other != flag:
                raise DataError(f"--{flag}: expected another file than --{other}, found {path}")


def _identities(path: str) -> tuple[object, ...]:
    """What two names of one file have in common: the real path, or the inode."""
    real = os.path.realpath(path)
    try:
        found = os.stat(real)
    except OSError:
        return (real,)
    return real, (found.st_dev, found.st_ino)


def printable(text: str) -> str:
    """Text from data as it may be printed: control characters escaped, line ends included."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


_MOST = 2**31 - 1  # what the integers of JAX's arrays hold


def number(kind: type, *bounds: Any) -> Callable[[str], Any]:
    """An argparse type: a finite number within bounds, an integer of 32 bits.

    Args:
      kind: int or float.
      *bounds: `annotated_types` Ge, Gt and Le.
    """
    words = [_bound(bound)[0] for bound in bounds]
    what = "an integer" if kind is int else "a number"
    expected = " ".join([what, " and ".join(words)]).strip()

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if kind is int and abs(value) > _MOST:
            raise argparse.ArgumentTypeError(f"expected {expected}, at most {_MOST}, found {text}")
        if not math.isfinite(value) or not all(_bound(bound)[1](value) for bound in bounds):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
        return value

    return parse


def _bound(bound: Any) -> tuple[str, Callable[[Any], bool]]:
    """A bound in words, and whether a value keeps it."""
    if isinstance(bound, Ge):
        return f">= {bound.ge}", lambda value: value >= bound.ge
    if isinstance(bound, Gt):
        return f"> {bound.gt}", lambda value: value > bound.gt
    return f"<= {bound.le}", lambda value: value <= bound.le


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """An argparse type: an integer of at least `least`, and at most `most` if that is given."""
    return number(int, Ge(least), *([] if most is None else [Le(most)]))
