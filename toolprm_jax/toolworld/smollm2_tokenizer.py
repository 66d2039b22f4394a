"""Writes the tokenizer of SmolLM2 in Hugging Face form; needs torch (the extra `peers`).

python -m toolprm_jax.toolworld.smollm2_tokenizer --out toolprm_jax/toolworld/smollm2
"""

from __future__ import annotations

import argparse

from transformers import AutoTokenizer

from ..command import Parser, command
from ..model.files import smollm2_file
from .embedded import TOKENIZER


def _write(args: argparse.Namespace) -> int:
    file = smollm2_file()
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    tokenizer.save_pretrained(args.out)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "python -m toolprm_jax.toolworld.smollm2_tokenizer", "Writes the tokenizer of SmolLM2."
    )
    parser.add_argument("--out", default=str(TOKENIZER), help="directory to write to")
    return parser


main = command(_parser, _write)


if __name__ == "__main__":
    raise SystemExit(main())
