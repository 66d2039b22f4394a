"""Models by name: a Hugging Face directory, a training run's checkpoint, or an embedded one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..annotation.records import DataError
from ..tokens.codec import Codec, load_tokenizer
from ..tokens.contract import Contract
from .checkpoint import restore_params
from .decoder import Decoder, Params
from .hf import CONFIG_FILE, load_model

EMBEDDED = {
    f"toy:{role}": Path(__file__).parent.parent / "toolworld" / role for role in ("policy", "prm")
}


class LoadedModel(NamedTuple):
    """A decoder, its parameters, and the text side that it was trained with."""

    model: Decoder
    params: Params
    codec: Codec


def load(name: str) -> LoadedModel:
    """Loads a model.

    Args:
      name: a directory, or "toy:policy" or "toy:prm".

    Raises:
      DataError: there is no such model, or it is damaged or not one of this project's.
    """
    directory = EMBEDDED.get(name, Path(name))
    if not directory.is_dir():
        known = ", ".join(EMBEDDED)
        raise DataError(f"{name}: no such model; expected a directory or one of {known}")
    if (directory / CONFIG_FILE).is_file():
        config, params = load_model(directory)
    else:
        config, params = restore_params(directory)
    codec = Codec(load_tokenizer(directory), Contract.load(directory))
    return LoadedModel(Decoder(config), params, codec)
