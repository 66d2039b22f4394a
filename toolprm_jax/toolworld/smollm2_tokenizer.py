"""Writes the tokenizer of SmolLM2 in Hugging Face form; needs torch (the extra `peers`).

python -m toolprm_jax.toolworld.smollm2_tokenizer --out toolprm_jax/toolworld/smollm2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from transformers import AutoTokenizer

from ..command import Parser, run_command
from ..model.files import smollm2_file
from .embedded import TOKENIZER


def _write(args: argparse.Namespace) -> int:
    file = smollm2_file()
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    tokenizer.save_pretrained(args.out)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Writes `tokenizer.json` and `tokenizer_config.json`.

    Args:
      argv: the arguments; those of the process if None.

    Returns:
      The exit status: 0, or 2 where the base is not installed.
    """
    parser = Parser(
        "python -m toolprm_jax.toolworld.smollm2_tokenizer", "Writes the tokenizer of SmolLM2."
    )
    parser.add_argument("--out", default=str(TOKENIZER), help="directory to write to")
    return run_command(parser, _write, argv)


if __name__ == "__main__":
    raise SystemExit(main())
