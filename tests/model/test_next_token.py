"""Probabilities of the next token, against a plain forward of each prompt alone."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from toolprm_jax.model.decoder import Decoder, DecoderConfig, init_params
from toolprm_jax.model.files.loading import LoadedModel
from toolprm_jax.model.next_token import label_probabilities
from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.codec import Codec

pytestmark = pytest.mark.slow
CONFIG = DecoderConfig(2048, 32, 64, 2, 4, 2, 8, max_positions=64)


@pytest.fixture(scope="module")
def loaded(small_codec: Codec) -> LoadedModel:
    model = Decoder(CONFIG)
    params = jax.tree.map(lambda x: 3 * x, init_params(CONFIG, jax.random.key(0)))
    return LoadedModel(model, params, small_codec)


@pytest.mark.parametrize("among_labels", [True, False])
def test_each_prompt_has_what_it_has_alone(loaded: LoadedModel, among_labels: bool) -> None:
    rng = np.random.default_rng(0)
    query = rng.integers(0, 2048, 20).tolist()
    prompts = [query + rng.integers(0, 2048, size).tolist() for size in (0, 1, 7)]
    prompts += [prompts[2][:24], rng.integers(0, 2048, 5).tolist()]
    labels = [5, 7, 2047]
    found = label_probabilities(loaded, prompts, labels, among_labels=among_labels)
    for ids, shares in zip(prompts, found, strict=True):
        tokens, positions = np.asarray([ids]), np.arange(len(ids))[None]
        exits = np.full_like(tokens, len(ids))
        hidden = loaded.model.apply(loaded.params, tokens, positions, exits)
        logits = loaded.model.apply(loaded.params, hidden, method=Decoder.logits)
        wanted = jax.nn.softmax(np.asarray(logits)[0, -1][labels if among_labels else slice(None)])
        wanted = wanted if among_labels else wanted[np.asarray(labels)]
        np.testing.assert_allclose(shares, wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("prompts", "labels", "said"),
    [
        ([], [1], "at least one prompt"),
        ([[1]], [], "one label"),
        ([[]], [1], "at least one"),
        ([[2048]], [1], "from 0 to 2047"),
        ([[1]], [-1], "from 0 to 2047"),
        ([[1] * 65], [1], "65 tokens, the model takes 64"),
    ],
)
def test_what_can_not_be_asked_is_refused(
    loaded: LoadedModel, prompts: list[list[int]], labels: list[int], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        label_probabilities(loaded, prompts, labels)
