"""Records in batches of few shapes, and a PRNG key for each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from toolprm_jax.records import DataError, Record
from toolprm_jax.tokens import Codec

from ..decoder import Prompts

_SHORTEST = 128  # tokens; the lengths that prompts are padded to are this times 1, 1.5, 2, 3, 4 ...


class Batch(NamedTuple):
    """Records of one compiled shape; the last rows of `prompts` may repeat a record as padding."""

    indices: tuple[int, ...]  # positions of the records in the input
    records: tuple[Record, ...]
    prompts: Prompts


def record_keys(seed: int, records: Sequence[Record]) -> jax.Array:
    """One PRNG key per record, from the seed and a stable hash of its id: key[B]."""
    hashes = [
        int.from_bytes(hashlib.sha256(record.id.encode()).digest()[:4], "little")
        for record in records
    ]
    fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return fold(jax.random.key(seed), jnp.asarray(hashes, jnp.uint32))


def length_bucket(length: int) -> int:
    """The length that a prompt is padded to, in tokens: two of them in each octave."""
    size = _SHORTEST
    while size < length:
        size *= 2
    half = size * 3 // 4
    return half if half >= max(length, _SHORTEST) else size


def size_bucket(count: int, most: int) -> int:
    """How many queries a batch holds: a power of two that holds `count`, at most `most`."""
    return min(most, 1 << max(count - 1, 0).bit_length())


def make_batches(
    codec: Codec,
    records: Sequence[Record],
    batch_size: int,
    max_shapes: int,
    most: int | None = None,
) -> Iterator[Batch]:
    """Records in batches of few shapes, shortest prompts first.

    Args:
      codec: of the policy.
      records: any number.
      batch_size: B at most; the last batch of a shape is filled up by repeating a record.
      max_shapes: how many different prompt lengths there are at most; the shortest prompts are
        padded further where there would be more.
      most: positions of the model, which prompts are held against if given.

    Raises:
      DataError: a prompt leaves no position for an answer.
    """
    prompts = [codec.prompt(record) for record in records]
    for record, prompt in zip(records, prompts, strict=True):
        if most is not None and len(prompt) >= most:
            raise DataError(
                f"record {record.id!r}: the prompt has {len(prompt)} tokens, "
                f"the model has {most} positions"
            )
    order = sorted(range(len(records)), key=lambda i: (len(prompts[i]), i))
    padded = sorted({length_bucket(len(prompt)) for prompt in prompts})[-max_shapes:]
    for least, length in pairwise([0, *padded]):
        members = [i for i in order if least < len(prompts[i]) <= length]
        size = size_bucket(len(members), batch_size)
        for first in range(0, len(members), size):
            chosen = members[first : first + size]
            filled = [*chosen, *[chosen[0]] * (size - len(chosen))]
            tokens = np.zeros((size, length), np.int32)
            for row, index in enumerate(filled):
                tokens[row, : len(prompts[index])] = prompts[index]
            lengths = np.asarray([len(prompts[index]) for index in filled], np.int32)
            yield Batch(
                tuple(chosen),
                tuple(records[index] for index in filled),
                Prompts(*jax.device_put((tokens, lengths))),
            )
