"""How likely a few tokens come next, after prompts that share their beginnings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from ..records import DataError
from ..tokens import TreeBatch, TreeBuilder, pack
from .decoder import Decoder, Params
from .files.loading import LoadedModel

_ROW_STEP = 256  # a row is padded to a multiple of it, and the prompts to a power of two


@partial(jax.jit, static_argnames="model")
def _logits(model: Decoder, params: Params, batch: TreeBatch, places: Array) -> Array:
    hidden: Any = model.apply(params, batch.tokens, batch.positions, batch.exits)
    logits: Any = model.apply(params, hidden[0, places], method=Decoder.logits)
    return logits


def label_probabilities(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    label_ids: Sequence[int],
    *,
    among_labels: bool = True,
) -> NDArray[np.float32]:
    """The probability of each label as the next token after each prompt.

    Args:
      loaded: any model.
      prompts: token ids, at least one each; what they begin with together is run once.
      label_ids: token ids.
      among_labels: whether the labels' probabilities are made to sum to 1; else they are those
        among all tokens.

    Returns:
      float32[prompts, labels].

    Raises:
      DataError: a prompt or the labels are empty, an id is no token, or a prompt is too long.

    Source: what vLLM calls generative scoring; the shared beginning is our choice.
    """
    rows, most = loaded.model.config.vocab_size, loaded.model.config.max_positions
    if not label_ids or not prompts:
        raise DataError("expected at least one prompt and one label")
    for ids in (*prompts, label_ids):
        if not ids or not all(0 <= token < rows for token in ids):
            raise DataError(f"expected token ids from 0 to {rows - 1}, at least one")
        if len(ids) > most:
            raise DataError(f"a prompt has {len(ids)} tokens, the model takes {most}")
    builders: dict[int, TreeBuilder] = {}  # a tree has one root
    last = [builders.setdefault(ids[0], TreeBuilder()).add_path(ids)[-1] for ids in prompts]
    size, index = 0, dict[int, NDArray[np.int32]]()  # of each tree's nodes in the row
    for root, builder in builders.items():
        index[root] = size + builder.places()
        size += len(builder)
    places = np.asarray([index[ids[0]][node] for ids, node in zip(prompts, last, strict=True)])
    batch = pack([builder.build() for builder in builders.values()], size + -size % _ROW_STEP)
    padded = np.resize(places, 1 << (len(places) - 1).bit_length())
    logits = np.asarray(_logits(loaded.model, loaded.params, batch, padded))[: len(places)]
    labels = np.asarray(label_ids)
    logits = logits[:, labels] if among_labels else logits
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares if among_labels else shares[:, labels]
