"""A plain search over Python lists: every candidate on its own, nothing shared, nothing cached."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from search.core.config import SearchConfig
from toolprm_jax.grammar.runner import State, advance, initial
from toolprm_jax.grammar.types import EOT, Kind, Tables


@dataclass
class Beam:
    """A completion in the making."""

    tokens: list[int]
    data: bytes
    state: State
    events: list[list[Kind]]  # per token
    log_prob: float = 0.0
    score: float = 0.0
    status: str = "live"
    known_violations: int = 0  # when it was last kept


@dataclass
class Reference:
    """What the plain search needs: numbers as functions of whole token sequences.

    Attributes:
      logits: completion's tokens -> float[V], with -inf for tokens that may not be sampled.
      judge: tokens up to and including the one with the boundary, kind -> log-probability of "+".
      pieces: bytes of each token.
      end_of_text: the token without bytes that may be sampled.
      tables: the grammar.
      violations: a completion's bytes -> how often it breaks its schemas, where that prunes.
    """

    logits: Callable[[list[int]], np.ndarray]
    judge: Callable[[list[int], Kind], float]
    pieces: list[bytes | None]
    end_of_text: int
    tables: Tables
    violations: Callable[[bytes], int] | None = None

    def feed(self, beam: Beam, token: int, log_prob: float) -> Beam:
        """The beam with one more token."""
        piece = [EOT] if token == self.end_of_text else (self.pieces[token] or b"")
        state, events = advance(self.tables, beam.state, piece)
        return Beam(
            [*beam.tokens, token],
            beam.data + (b"\0end" if token == self.end_of_text else bytes(piece)),
            state,
            [*beam.events, [kind for kind, _ in events]],
            beam.log_prob + log_prob,
            known_violations=beam.known_violations,
        )

    def draw(self, tokens: list[int], uniform: float, temperature: Any) -> tuple[int, float]:
        """Inverts the CDF of the next token; and its untempered log-probability."""
        logits = self.logits(tokens).astype(np.float64)
        log_probs = logits - np.logaddexp.reduce(logits)
        if temperature == 0.0:
            token = int(np.argmax(logits))
        else:
            scaled = logits / temperature
            probs = np.exp(scaled - np.logaddexp.reduce(scaled))
            token = int(np.searchsorted(np.cumsum(probs), uniform * probs.sum(), side="right"))
        return token, float(log_probs[token])

    def score(self, beam: Beam, config: SearchConfig) -> float:
        """Aggregates every labelled marker of the completion."""
        logs = [
            self.judge(beam.tokens[: i + 1], kind)
            for i, kinds in enumerate(beam.events)
            for kind in kinds
            if kind in config.labelled
        ]
        if config.aggregate == "min":
            return math.exp(min(logs))
        if config.aggregate == "product":
            return sum(logs)
        if config.aggregate == "mean":
            return sum(map(math.exp, logs)) / len(logs)
        return math.exp(logs[-1])

    def search(self, key: jax.Array, config: SearchConfig) -> tuple[list[Beam], int]:
        """The beams, best first, and the tokens sampled."""
        beams = [Beam([], b"", initial(self.tables), [])]
        sampled = 0
        for decision in range(config.max_decisions):
            live = [beam for beam in beams if beam.status == "live"]
            if not live:
                break
            step_key = jax.random.fold_in(key, decision)
            candidates = [beam for beam in beams if beam.status != "live"]
            walkers = range(config.num_beams * config.beam_width)
            probes = (config.probe_width or len(walkers)) * len(live)
            first = [
                self._walk(live[w % len(live)], step_key, w, 0, config) for w in walkers[:probes]
            ]
            probed = [beam for beam, _ in first]
            candidates += probed
            begin = max(steps for _, steps in first)
            sampled += sum(steps for _, steps in first)
            for family, start in enumerate(live):
                left = list(walkers[probes:])[family :: len(live)]
                share = self._share(start, probed[family :: len(live)], config)
                for walker in left[: int(np.round(share * len(left)))]:
                    beam, steps = self._walk(start, step_key, walker, begin, config)
                    candidates.append(beam)
                    sampled += steps
            if self.violations is not None:
                candidates = self._allowed(candidates)
            alive: dict[bytes, Beam] = {}
            for beam in candidates:
                if beam.status == "dead":
                    continue
                other = alive.get(beam.data)
                if other is None or beam.log_prob > other.log_prob:
                    alive[beam.data] = beam
            ranked = sorted(alive.values(), key=lambda b: (-b.score, -b.log_prob))
            if not ranked:
                ranked = [max(candidates, key=lambda b: b.log_prob)]
            beams = ranked[: config.num_beams]
            falls = config.aggregate in ("min", "product") and config.beta >= 0
            if config.early_stop and falls and beams[0].status == "finished":
                break
        return beams, sampled

    def _walk(
        self, beam: Beam, key: jax.Array, walker: int, begin: int, config: SearchConfig
    ) -> tuple[Beam, int]:
        """A candidate from a beam, and the tokens sampled for it."""
        key = jax.random.fold_in(key, walker)
        for step in range(config.max_step_tokens):
            uniform = float(jax.random.uniform(jax.random.fold_in(key, begin + step)))
            token, log_prob = self.draw(beam.tokens, uniform, config.temperature)
            beam = self.feed(beam, token, log_prob)
            kinds = beam.events[-1]
            whole = Kind.TOTAL_FINISH in kinds
            # Dead even where the same token closed a decision before.
            full = len(beam.tokens) >= config.max_tokens and not whole
            if beam.state.mode == 0 or full:
                break
            if any(kind in config.stop_kinds for kind in kinds):
                beam.status = "finished" if whole else "live"
                beam.score = self.score(beam, config)
                return beam, step + 1
            if token == self.end_of_text:
                break
        beam.status = "dead"
        return beam, step + 1

    def _share(self, start: Beam, probes: list[Beam], config: SearchConfig) -> float:
        """Which share of a beam's other candidates is worth its tokens after the first ones."""
        reached = [beam for beam in probes if beam.status != "dead"]
        if self.violations is not None:
            known = start.known_violations
            reached = [beam for beam in reached if self.violations(beam.data) == known]
        if not reached:
            return 1.0
        entropy = sum(start.log_prob - beam.log_prob for beam in reached) / len(reached)
        sure = max(
            math.exp(
                min(
                    self.judge(beam.tokens, kind)
                    for kind in beam.events[-1]
                    if kind in config.labelled
                )
            )
            for beam in reached
        )
        return 1.0 - sure * math.exp(-entropy)

    def _allowed(self, candidates: list[Beam]) -> list[Beam]:
        """Without those that break a schema anew; if all do, the likeliest stays."""
        assert self.violations is not None
        reached = [beam for beam in candidates if beam.status != "dead"]
        good = [beam for beam in reached if self.violations(beam.data) == beam.known_violations]
        if not good and reached:
            good = [max(reached, key=lambda beam: beam.log_prob)]
        for beam in good:
            beam.known_violations = self.violations(beam.data)
        return good or candidates
