"""The fenced blocks of the documents, and the commands in them.

Above a block that holds commands or a program stands `<!-- run: TEST -->`, the test that runs it,
or `<!-- not run: REASON -->`; its commands are held against the programs' own parsers.
"""

from __future__ import annotations

import argparse
import configparser
import importlib
import importlib.util
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from train.main import load_config, override
from train.settings import check_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "toolprm_jax" / "toolworld" / "CHECKPOINTS.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
_FENCE = re.compile(r"(?:^<!-- ([^>]*) -->\n)?^```(.*)\n((?:.*\n)*?)^```$", re.M)
_SETUP = configparser.ConfigParser()
_SETUP.read(ROOT / "setup.cfg")


class Block(NamedTuple):
    """A fenced block: where it stands, its language, its text, and the comment above it."""

    where: str
    language: str  # "" of commands
    text: str
    mark: str


def blocks() -> list[Block]:
    """All fenced blocks, those of Sphinx left out."""
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        matches = list(_FENCE.finditer(text))
        assert len(re.findall(r"^ *(?:```|~~~)", text, re.M)) == 2 * len(matches), page
        for match in matches:
            if not match[2].startswith("{"):
                line = text.count("\n", 0, match.start(2)) + 1
                found.append(Block(f"{page.name}:{line}", match[2], match[3], match[1] or ""))
    return found


def blocks_run_by(test: str) -> list[str]:
    """The texts of the blocks that a test runs, in their order; at least one."""
    found = [block.text for block in blocks() if block.mark == f"run: {test}"]
    assert found, f"no block is marked: run: {test}"
    return found


def commands(text: str) -> list[list[str]]:
    """The words of every command of a block, comments left out."""
    text = re.sub(r"(?m)(^|\s)#.*$", "", text.replace("\\\n", " "))
    words = shlex.shlex(text, posix=True, punctuation_chars=";&|\n")
    words.whitespace, words.whitespace_split, words.commenters = " \t", True, ""
    found: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set(";&|\n") or word == "do":
            found.append([])
        else:
            found[-1].append(word)
    return [command for command in found if command]


def main_of(name: str) -> Callable[[list[str]], int]:
    """The `main` of a console command."""
    scripts = _SETUP["options.entry_points"]["console_scripts"]
    places = dict(re.findall(r"^(\S+) = (\S+):main$", scripts, re.M))
    assert name in places, f"{name}: no such command"
    return importlib.import_module(places[name]).main


class _ParsedError(BaseException):
    """Carries what a program doesn't know of its arguments; nothing catches it on its way."""

    def __init__(self, unknown: list[str]) -> None:
        super().__init__()
        self.unknown = unknown


def _unknown(program: Callable[[], Any]) -> list[str]:
    """Lets a program parse its arguments and go no further; those that it doesn't know."""
    parse = argparse.ArgumentParser.parse_known_args

    def stop(self: Any, args: Any = None, namespace: Any = None) -> Any:
        raise _ParsedError(parse(self, args, namespace)[1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
        try:
            status = program()
        except _ParsedError as parsed:
            return parsed.unknown
        except SystemExit as error:  # of a plain argparse
            status = error.code
    raise AssertionError(f"the program ended with {status} before its arguments were parsed")


def _check_command(name: str, arguments: list[str]) -> None:
    if name != "toolprm-annotate-beam":
        assert not _unknown(lambda: main_of(name)(arguments))
    elif importlib.util.find_spec("apache_beam"):  # which has options of its own
        _unknown(lambda: main_of(name)(arguments))


def _check_train(arguments: list[str]) -> None:
    settings = _unknown(lambda: main_of("toolprm-train")(arguments))
    name = dict(pairwise(arguments))["--config"]
    config = load_config(ROOT / name if name.startswith("configs/") else name)
    for setting in settings:
        assert setting.startswith("--config."), setting
        override(config, setting)
    check_config(config)


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in arguments:
        name, given, _ = word.partition("=")
        assert re.search(rf"^{name} \?=" if given else rf"^{name}:", makefile, re.M), word


def _check_pip(arguments: list[str]) -> None:
    for word in arguments:
        if extras := re.fullmatch(r"(?:toolprm-jax|\.)\[(.*)\]", word):
            for extra in extras[1].split(","):
                assert extra in _SETUP["options.extras_require"], word


def _check_python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        module, *rest = arguments[1:]
        if module.split(".")[0] in ("toolprm_jax", "train", "search"):
            assert not _unknown(lambda: importlib.import_module(module).main(rest))
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        script = str(ROOT / arguments[0])
        assert not _unknown(lambda: runpy.run_path(script, run_name="__main__"))


def check_commands(text: str) -> None:
    """Holds our commands of a block against their parsers; others are left unchecked.

    Raises:
      AssertionError: there is no such program, option or value.
      DataError: the config of a training run can't be used.
    """
    for name, *arguments in commands(text):
        if name == "make":
            _check_make(arguments)
        elif name == "pip":
            _check_pip(arguments)
        elif name == "python":
            _check_python(arguments)
        elif name == "toolprm-train":
            _check_train(arguments)
        elif name.startswith("toolprm-"):
            _check_command(name, arguments)
