"""A policy and the reward model that guides it, loaded together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax

from toolprm_jax.model.files import LoadedModel, Shardings, Weights, load
from toolprm_jax.progress import tell
from toolprm_jax.records import DataError
from toolprm_jax.tokens import Granularity

from ..decoder import DecoderPolicy, DecoderReward, Models
from ..grammar import Grammar, make_grammar


@dataclass(frozen=True)
class ModelPair:
    """A policy and the reward model that guides it, if any.

    Raises:
      ContractError: they don't share vocabulary and template.
      DataError: the reward model is none.
    """

    policy: LoadedModel
    prm: LoadedModel | None = None
    prm_name: str = "none"
    grammar: Grammar = field(init=False)

    def __post_init__(self) -> None:
        """Checks that the two go together."""
        codec = self.policy.codec
        if self.prm is not None:
            contract = self.prm.codec.contract
            if contract.granularity is None:
                raise DataError("the PRM has no granularity in its contract: it is a policy")
            contract.check(codec.contract, "vocabulary", "template", "chat_template", "end_of_text")
        grammar = make_grammar(codec, self.policy.model.config.vocab_size)
        object.__setattr__(self, "grammar", grammar)

    @property
    def granularity(self) -> Granularity:
        """How fine the reward model judges; "toolprm" without one."""
        contract = self.prm.codec.contract if self.prm else None
        return (contract.granularity if contract else None) or "toolprm"

    def models(self, guided: bool, params: tuple[Any, Any] | None = None) -> Models:
        """What a jitted search takes.

        Args:
          guided: whether with the reward model.
          params: of both where they lie elsewhere than where they were loaded.
        """
        prm = self.prm if guided else None
        judge = None if prm is None else DecoderReward.of(prm.model, prm.codec.contract)
        if params is None:
            params = (self.policy.params, prm and prm.params)
        return Models(
            DecoderPolicy(self.policy.model),
            judge,
            (params[0], params[1] if guided else None),
            self.grammar,
        )


def dtype_for(dtype: str | None, devices: Sequence[Any]) -> str:
    """The dtype that is asked for, or what suits the devices."""
    return dtype or ("float32" if devices[0].platform == "cpu" else "bfloat16")


def load_told(
    name: str,
    *,
    template: str | None = None,
    dtype: str | None = None,
    shardings: Shardings | None = None,
    bases: dict[str, Weights] | None = None,
) -> LoadedModel:
    """Loads a model, saying so on a terminal.

    Args:
      name: as for `load`.
      template: of a policy without a contract.
      dtype: of weights and caches; float32 on a CPU, else bfloat16, if None.
      shardings: as for `load`.
      bases: likewise.

    Raises:
      DataError: there is no such model.
    """
    dtype = dtype_for(dtype, jax.local_devices())
    tell(f"loading {name} in {dtype}")
    return load(name, template, dtype, shardings, bases)


def load_pair(
    policy: str,
    prm: str | None,
    *,
    template: str | None = None,
    dtype: str | None = None,
    shardings: Shardings | None = None,
) -> ModelPair:
    """Loads a policy and its reward model; a base that both adapt is read once.

    Args:
      policy: as for `load`.
      prm: as for `load`, or None.
      template: as for `load_told`, as what follows.
      dtype: likewise.
      shardings: likewise.

    Raises:
      DataError: there is no such model, or the two don't go together.
    """
    told = partial(load_told, dtype=dtype, shardings=shardings, bases={})
    found = told(policy, template=template)
    return ModelPair(found, None if prm is None else told(prm), prm or "none")
