"""Adaptive budget: a few candidates of each beam first, the others as far as they are needed."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from .config import SearchConfig
from .interfaces import Status
from .judge import is_labelled
from .pool import Pool, take
from .sampling import place_in_family
from .walk import Walkers


def hold_back(walkers: Walkers, families: Array, config: SearchConfig) -> Walkers:
    """Lets only the first `probe_width` walkers of each beam set out.

    Args:
      walkers: dealt over the live beams.
      families: int32[B, W], the beam of each.
      config: its `probe_width`; 0 lets all set out.
    """
    if not config.probe_width:
        return walkers
    late = (walkers.status == Status.ACTIVE) & (place_in_family(families) >= config.probe_width)
    return walkers._replace(status=jnp.where(late, Status.HELD, walkers.status))


def wake(
    pool: Pool,
    walkers: Walkers,
    families: Array,
    starts: Array,
    among: Array,
    config: SearchConfig,
    guided: bool,
) -> Array:
    """Which of the walkers that were held back are needed after all.

    A beam's first candidates tell how likely a candidate of the policy is, exp(-H), H the mean of
    their negative log-probabilities, and how sure the reward model is of the best, p. The beam
    gets the share 1 - p * exp(-H) of the walkers that it has left, and all if no candidate stands.

    Args:
      pool: with `log_p`.
      walkers: the first at their boundaries, others held back.
      families: int32[B, W].
      starts: float32[B, W], log-probability of the beam that each set out from.
      among: bool[B, W], walkers that came to a boundary and that no schema refuses.
      config: what is labelled.
      guided: whether there is a reward model; else p is 1.

    Returns:
      bool[B, W].

    Source: our choice.
    """
    width = families.shape[1]
    family = families[..., None] == jnp.arange(width)[None, None, :]  # [B, W, F]
    mine = family & among[..., None]
    number = jnp.sum(mine, axis=1)  # [B, F]
    surprise = jnp.where(among, starts - walkers.log_prob, 0.0)
    entropy = jnp.sum(surprise[..., None] * mine, axis=1) / jnp.maximum(number, 1)
    sure = jnp.exp(-entropy)
    if guided:
        labelled = is_labelled(take(pool.events, walkers.nodes), config.labelled)
        log_p = jnp.where(labelled, take(pool.log_p, walkers.nodes), 0.0)
        sure *= jnp.max(jnp.where(mine, jnp.exp(jnp.min(log_p, axis=-1))[..., None], 0.0), axis=1)
    sure = jnp.where(number > 0, sure, 0.0)
    held = walkers.status == Status.HELD
    left = jnp.sum(family & held[..., None], axis=1)
    wanted = jnp.round((1.0 - sure) * left).astype(jnp.int32)
    return held & (place_in_family(families) - config.probe_width < take(wanted, families))


def woken(walkers: Walkers, needed: Array) -> Walkers:
    """The walkers with those that are needed under way, and the others that were held back gone."""
    held = walkers.status == Status.HELD
    status = jnp.where(held, jnp.where(needed, Status.ACTIVE, Status.IDLE), walkers.status)
    return walkers._replace(status=status)
