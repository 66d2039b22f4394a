"""Models by name: a directory, a GGUF file, the installed base, or an embedded adapter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import jax

from ...records import DataError, read_json
from ...tokens import CONTRACT_FILE, Codec, Contract, ContractError, load_tokenizer, make_contract
from ...toolworld.embedded import EMBEDDED, TOKENIZER
from ..adapters import Adapter, check_adapter, is_adapter, merge, read_adapter
from ..decoder import Decoder, DecoderConfig, Params
from .checkpoint import read_adapter_checkpoint, read_params, whole_checkpoint
from .gguf import SMOLLM2, load_gguf, load_smollm2
from .hf import CONFIG_FILE, Shardings, load_model


class Weights(NamedTuple):
    """What a name stands for, the adapter still apart from its base."""

    config: DecoderConfig
    params: Params  # of the base, or of the whole model
    adapter: Adapter | None
    home: Path  # directory of the model's contract, if it has one
    tokenizer: Path  # directory of its tokenizer

    def merged(self) -> Params:
        """Parameters of the plain decoder."""
        if self.adapter is None:
            return self.params
        # From the host, for the base may be spread over devices.
        return merge(self.params, jax.device_get(self.adapter.params), self.adapter.lora)


class LoadedModel(NamedTuple):
    """A decoder, its parameters, and the text side that it was trained with."""

    model: Decoder
    params: Params
    codec: Codec


def load_weights(
    name: str,
    dtype: str = "float32",
    shardings: Shardings | None = None,
    bases: dict[str, Weights] | None = None,
) -> Weights:
    """Reads the weights that a name stands for.

    Args:
      name: "smollm2", "embedded:policy", "embedded:prm", a GGUF file with its tokenizer.json
        beside it, or a directory: in Hugging Face's layout, in PEFT's (its base is named as here),
        or a checkpoint of `toolprm-train`.
      dtype: dtype of the parameters and of the computation.
      shardings: maps the abstract parameters to a sharding each; one device if None.
      bases: of adapters, read before with the same dtype and shardings; gets what is read now.

    Raises:
      DataError: there is no such model, or it is damaged.
    """
    bases = {} if bases is None else bases
    if name in bases:
        return bases[name]
    if name == SMOLLM2:
        config, params = load_smollm2(dtype, shardings)
        return Weights(config, params, None, TOKENIZER, TOKENIZER)
    path = EMBEDDED.get(name, Path(name))
    if path.suffix == ".gguf":
        return Weights(*load_gguf(path, dtype, shardings), None, path.parent, path.parent)
    if not path.is_dir():
        known = ", ".join((SMOLLM2, *EMBEDDED))
        raise DataError(f"{name}: no such model; expected a directory, a GGUF file or {known}")
    if (path / CONFIG_FILE).is_file():
        return Weights(*load_model(path, dtype, shardings), None, path, path)
    if is_adapter(path):
        adapter = read_adapter(path)
    else:
        path = Path(whole_checkpoint(path))
        adapter = read_adapter_checkpoint(path)
        if adapter is None:
            config, params = read_params(path, shardings)
            config = dataclasses.replace(config, dtype=dtype)
            params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
            return Weights(config, params, None, path, path)
    base_name = _base_name(adapter.base, path)
    base = bases[base_name] = load_weights(base_name, dtype, shardings, bases)
    if base.adapter is not None:
        raise DataError(f"{path}: its base {adapter.base} is an adapter itself")
    check_adapter(path, base.params, adapter.lora, adapter.params)
    has_text = (path / "tokenizer.json").is_file()
    return Weights(base.config, base.params, adapter, path, path if has_text else base.tokenizer)


def _base_name(base: str, path: Path) -> str:
    """Where an adapter's base lies; `base_model_name_or_path` may be the hub's name of SmolLM2."""
    if base.rpartition("/")[2].lower() == "smollm2-135m-instruct" and not Path(base).exists():
        return SMOLLM2
    if base != SMOLLM2 and not Path(base).exists():
        raise DataError(f"{path}: its base {base!r} is no model here")
    return base


def _ends(home: Path) -> tuple[int, ...]:
    """The tokens that end a turn, where `generation_config.json` lists them.

    Raises:
      DataError: the file is damaged.
    """
    path = home / "generation_config.json"
    if not path.is_file():
        return ()
    data = read_json(path)
    found = data.get("eos_token_id") if isinstance(data, dict) else None
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not isinstance(data, dict) or any(type(i) is not int or i < 0 for i in ids):
        raise DataError(f"{path}: eos_token_id: expected a token id or a list of them")
    return tuple(dict.fromkeys(ids))


def _check_rows(name: str, rows: int, who: str, ids: Iterable[int]) -> None:
    """Raises a ContractError where a token id is past the embedding, which JAX would not notice."""
    largest = max(ids)
    if largest >= rows:
        raise ContractError(f"{name}: {who} token {largest}, the embedding has {rows} rows")


def load(
    name: str,
    template: str | None = None,
    dtype: str = "float32",
    shardings: Shardings | None = None,
    bases: dict[str, Weights] | None = None,
) -> LoadedModel:
    """Loads a model; an adapter is merged into its base.

    Args:
      name: as for `load_weights`.
      template: of a policy that has no contract, as published ones have none.
      dtype: dtype of the parameters and of the computation.
      shardings: as for `load_weights`.
      bases: as for `load_weights`; models on one base share what their adapters leave as it is.

    Raises:
      DataError: there is no such model, or it is damaged or not one of this project's.
      ContractError: tokenizer, embedding or `template` are not the contract's.
    """
    weights = load_weights(name, dtype, shardings, bases)
    tokenizer = load_tokenizer(weights.tokenizer)
    _check_rows(
        name, weights.config.vocab_size, "the tokenizer has", tokenizer.get_vocab().values()
    )
    if template is not None and not (weights.home / CONTRACT_FILE).exists():
        try:
            ends = _ends(weights.home)
            contract = make_contract(tokenizer, weights.config.vocab_size, template, ends=ends)
        except DataError as error:
            raise ContractError(f"{name}: {error}") from None
    else:
        contract = Contract.load(weights.home)
    if template not in (None, contract.template):
        raise ContractError(f"{name}: template is {contract.template!r}, not {template!r}")
    ids = (*contract.marker_ids, *contract.label_ids, *contract.ends)
    _check_rows(name, weights.config.vocab_size, "the contract names", ids)
    try:
        codec = Codec(tokenizer, contract)
    except DataError as error:
        raise ContractError(f"{name}: {error}") from None
    return LoadedModel(Decoder(weights.config), weights.merged(), codec)


class Origin(NamedTuple):
    """Where a model comes from, for its card; empty where that is not known."""

    base_model: str = ""  # id on the Hugging Face hub
    license: str = ""  # as the hub names it, such as apache-2.0
    notice: str = ""  # text of the NOTICE that goes with it


def _stands_on_smollm2(name: str) -> bool:
    """Whether a model is SmolLM2, or an adapter on it."""
    path = EMBEDDED.get(name, Path(name))
    if name == SMOLLM2 or not path.is_dir() or (path / CONFIG_FILE).is_file():
        return name == SMOLLM2
    if is_adapter(path):
        adapter: Adapter | None = read_adapter(path)
    else:
        path = Path(whole_checkpoint(path))
        adapter = read_adapter_checkpoint(path)
    return adapter is not None and _base_name(adapter.base, path) == SMOLLM2


_SMOLLM2 = ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")


def origin_of(name: str, base_model: str = "", license: str = "") -> Origin:
    """Where a model of that name comes from; what is given counts more than what is known.

    Raises:
      DataError: there is no such model, or it is damaged.
    """
    if not _stands_on_smollm2(name):
        return Origin(base_model, license)
    notice = (TOKENIZER / "NOTICE").read_text()
    return Origin(base_model or _SMOLLM2[0], license or _SMOLLM2[1], notice)
