"""The embedded models' tokenizer: byte-level BPE trained on the embedded corpus.

python -m toolprm_jax.toolworld.tokenizer --out runs/tokenizer
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ..annotation import gold_completion
from ..tokens import get_template
from .masked import masked_group

EMBEDDING_ROWS = 2048
VOCABULARY = 2040  # tokens, special ones included; the rows above are for the markers
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Qwen2's pre-tokenisation: words with their space, single digits, runs of punctuation.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus_texts(seed: int, groups: int) -> Iterator[str]:
    """Prompts and gold completions of masked training groups, for the tokenizer's merges."""
    template = get_template("compact")
    for index in range(groups):
        for record in masked_group(seed, "train", index, 2):
            yield from (content for _, content in template.turns(record))
            yield gold_completion(record, template.dress)


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Trains the tokenizer.

    Args:
      texts: the corpus.

    Returns:
      A byte-level BPE tokenizer of VOCABULARY tokens with ChatML's special tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


def main() -> int:
    """Trains the tokenizer and writes it as a Hugging Face directory."""
    parser = argparse.ArgumentParser(description="Trains the embedded tokenizer.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--groups", type=int, default=10_000)
    args = parser.parse_args()
    tokenizer = train_tokenizer(corpus_texts(args.seed, args.groups))
    tokenizer.save_pretrained(str(args.out))
    print(f"{args.out}: {len(tokenizer)} tokens")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
