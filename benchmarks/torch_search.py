"""Fine-grained beam search as it is done with transformers on torch, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch  # pyright: ignore[reportMissingImports]
from transformers import AutoModelForCausalLM, DynamicCache, StoppingCriteria, StoppingCriteriaList

from search.host import ModelPair
from toolprm_jax.grammar import Kind
from toolprm_jax.grammar import runner as grammar
from toolprm_jax.model.files import LoadedModel, save_model
from toolprm_jax.tokens import Codec

SCORED_AT_ONCE = 16  # whole texts that the reward model reads in one batch


class Width(NamedTuple):
    """How far the search explores."""

    num_beams: int  # N
    beam_width: int  # M
    temperature: float
    max_step_tokens: int
    max_decisions: int


@dataclass(frozen=True)
class Partial:
    """A completion so far, with all that a text-level search knows of it."""

    ids: tuple[int, ...]
    state: grammar.State
    score: float = 1.0  # lowest probability of "+" of its decisions
    kinds: tuple[Kind, ...] = ()  # of the decisions that its last token ends
    rows: tuple[int, int] = field(default=(0, 0), compare=False)  # of the models' caches, if any

    @property
    def finished(self) -> bool:
        """Whether the list of calls is closed."""
        return Kind.TOTAL_FINISH in self.kinds


def torch_model(loaded: LoadedModel) -> Any:
    """The same weights as a model of transformers, float32."""
    with TemporaryDirectory() as folder:
        save_model(Path(folder), loaded.model.config, loaded.params, dtype="float32")
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


class _Boundary(StoppingCriteria):
    """Stops each sequence where its next decision ends or the grammar refuses it."""

    def __init__(self, search: _Search, start: Partial, count: int) -> None:
        self.search, self.rows = search, [start] * count
        self.stopped = [False] * count

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> Any:
        for i, token in enumerate(input_ids[:, -1].tolist()):
            if not self.stopped[i]:
                self.rows[i] = self.search.follow(self.rows[i], token)
                self.stopped[i] = bool(self.rows[i].kinds) or self.search.is_dead(self.rows[i])
        return torch.tensor(self.stopped)


class _Search:
    """What both searches share: grammar, selection, and the loop over decisions."""

    def __init__(self, models: ModelPair, torch_models: tuple[Any, Any], width: Width) -> None:
        assert models.prm is not None
        self.codec: Codec = models.policy.codec
        self.contract = models.prm.codec.contract
        self.policy, self.prm = torch_models
        self.width = width
        self.tables = grammar.tables(self.codec.template.dress)
        self.start = Partial((), grammar.initial(self.tables))

    def follow(self, partial: Partial, token: int) -> Partial:
        """The completion with one more token."""
        is_end = token == self.contract.end_of_text
        data: Sequence[int] = [grammar.EOT] if is_end else (self.codec.pieces[token] or b"\xff")
        state, events = grammar.advance(self.tables, partial.state, data)
        kinds = tuple(kind for kind, _ in events)
        return replace(partial, ids=(*partial.ids, token), state=state, kinds=kinds)

    def is_dead(self, partial: Partial) -> bool:
        """Whether the grammar has refused it."""
        return partial.state.mode == self.tables.dead

    def begin(self, prompt: list[int]) -> None:
        """Starts a query."""
        raise NotImplementedError

    def explore(self, prompt: list[int], beams: list[Partial]) -> list[Partial]:
        """M candidates of each beam, each at the end of its next decision."""
        raise NotImplementedError

    def judge(self, prompt: list[int], candidates: list[Partial]) -> list[Partial]:
        """The candidates with their newest decisions in their scores."""
        raise NotImplementedError

    def run(self, prompt: list[int]) -> list[Partial]:
        """The beams after the last decision, best first."""
        self.begin(prompt)
        beams = [self.start]
        for _ in range(self.width.max_decisions):
            live = [beam for beam in beams if not beam.finished]
            if not live:
                break
            found = self.explore(prompt, live)
            distinct = {p.ids: p for p in found if p.kinds and not self.is_dead(p)}
            done = [beam for beam in beams if beam.finished]
            judged = self.judge(prompt, list(distinct.values()))
            beams = sorted([*done, *judged], key=lambda p: -p.score)[: self.width.num_beams]
        return beams


class TextSearch(_Search):
    """Text in, text out: `generate` for every beam, and every text read whole by the PRM."""

    def begin(self, prompt: list[int]) -> None:
        """Nothing is kept between the steps."""

    def explore(self, prompt: list[int], beams: list[Partial]) -> list[Partial]:
        """As in the base class."""
        found: list[Partial] = []
        for beam in beams:
            stop = _Boundary(self, replace(beam, kinds=()), self.width.beam_width)
            ids = torch.tensor([[*prompt, *beam.ids]])
            self.policy.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=self.width.temperature,
                top_k=0,
                num_return_sequences=self.width.beam_width,
                max_new_tokens=self.width.max_step_tokens,
                stopping_criteria=StoppingCriteriaList([stop]),
                pad_token_id=self.contract.end_of_text,
                eos_token_id=None,
            )
            found += stop.rows
        return found

    def judge(self, prompt: list[int], candidates: list[Partial]) -> list[Partial]:
        """As in the base class; equal texts have been merged before."""
        marked = [
            (i, [*prompt, *candidate.ids, self.contract.marker_ids[kind]])
            for i, candidate in enumerate(candidates)
            for kind in candidate.kinds
        ]
        scores = [candidate.score for candidate in candidates]
        for start in range(0, len(marked), SCORED_AT_ONCE):
            part = marked[start : start + SCORED_AT_ONCE]
            longest = max(len(ids) for _, ids in part)
            padding = [longest - len(ids) for _, ids in part]
            rows = [[0] * n + ids for n, (_, ids) in zip(padding, part, strict=True)]
            mask = [[0] * n + [1] * (longest - n) for n in padding]
            positions = [[0] * n + list(range(longest - n)) for n in padding]
            with torch.no_grad():
                out = self.prm(
                    torch.tensor(rows),
                    attention_mask=torch.tensor(mask),
                    position_ids=torch.tensor(positions),
                    logits_to_keep=1,
                    use_cache=False,
                )
            minus, plus = self.contract.label_ids
            right = torch.sigmoid(out.logits[:, -1, plus] - out.logits[:, -1, minus]).tolist()
            for (i, _), p in zip(part, right, strict=True):
                scores[i] = min(scores[i], p)
        return [replace(c, score=s) for c, s in zip(candidates, scores, strict=True)]


class _Cached(NamedTuple):
    """Keys and values of rows, and which of them each row sees."""

    cache: Any
    seen: torch.Tensor  # bool[rows, length]

    def select(self, rows: list[int]) -> _Cached:
        """A copy of some rows, in this order, with repetition."""
        out = DynamicCache()
        index = torch.tensor(rows)
        for number, layer in enumerate(self.cache.layers):
            out.update(layer.keys[index], layer.values[index], number)
        return _Cached(out, self.seen[index])


def _extend(
    model: Any, below: _Cached, ids: torch.Tensor, own: torch.Tensor, kept: torch.Tensor
) -> tuple[torch.Tensor, _Cached]:
    """Runs tokens below cached ones.

    Args:
      model: of transformers; the cache grows in place.
      below: R rows.
      ids: int64[R, T].
      own: bool[R, T, T], which of them each sees.
      kept: bool[R, T], which of them later tokens see.

    Returns:
      Hidden states [R, T, hidden_size] and the longer rows.
    """
    rows, count = ids.shape
    visible = torch.cat([below.seen[:, None].expand(rows, count, -1), own], dim=-1)
    positions = below.seen.sum(1, keepdim=True) + own.sum(-1) - 1
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
    with torch.no_grad():
        out = model.model(
            input_ids=ids,
            attention_mask=mask[:, None],
            position_ids=positions.clamp(min=0),
            past_key_values=below.cache,
            use_cache=True,
        )
    return out.last_hidden_state, _Cached(below.cache, torch.cat([below.seen, kept], dim=1))


class CachedSearch(_Search):
    """With key-value caches kept for every beam: prompts and texts are read once, by both models.

    All candidates run side by side, and the PRM reads only their new tokens and markers. Nothing is
    shared between candidates, as a cache of transformers holds whole rows.
    """

    def begin(self, prompt: list[int]) -> None:
        """Reads the prompt but for its last token."""
        ids = torch.tensor([prompt[:-1]])
        seen = torch.ones_like(ids, dtype=torch.bool)
        own = torch.ones((1, ids.shape[1], ids.shape[1]), dtype=torch.bool).tril()
        empty = torch.zeros((1, 0), dtype=torch.bool)
        self._rows = [
            _extend(model, _Cached(DynamicCache(), empty), ids, own, seen)[1]
            for model in (self.policy, self.prm)
        ]

    def explore(self, prompt: list[int], beams: list[Partial]) -> list[Partial]:
        """As in the base class."""
        parents = [beam for beam in beams for _ in range(self.width.beam_width)]
        cached = self._rows[0].select([beam.rows[0] for beam in parents])
        walkers = [replace(p, kinds=(), rows=(i, p.rows[1])) for i, p in enumerate(parents)]
        self._read = [len(beam.ids) for beam in parents]
        going = [True] * len(walkers)
        for _ in range(self.width.max_step_tokens):
            last = torch.tensor([[w.ids[-1] if w.ids else prompt[-1]] for w in walkers])
            kept = torch.tensor(going)[:, None]
            own = torch.ones((len(walkers), 1, 1), dtype=torch.bool)
            hidden, cached = _extend(self.policy, cached, last, own, kept)
            with torch.no_grad():
                logits = self.policy.lm_head(hidden[:, -1]) / self.width.temperature
            drawn = torch.multinomial(torch.softmax(logits, dim=-1), 1)[:, 0].tolist()
            for i, token in enumerate(drawn):
                if going[i]:
                    walkers[i] = self.follow(walkers[i], token)
                    going[i] = not walkers[i].kinds and not self.is_dead(walkers[i])
            if not any(going):
                break
        self._rows[0] = cached
        return walkers

    def judge(self, prompt: list[int], candidates: list[Partial]) -> list[Partial]:
        """As in the base class; only one row of equal texts is read."""
        if not candidates:
            return []
        new = [[prompt[-1], *c.ids][self._read[c.rows[0]] :] for c in candidates]
        texts, marks = max(map(len, new)), max(len(c.kinds) for c in candidates)
        ids = torch.zeros((len(new), texts + marks), dtype=torch.long)
        own = torch.eye(texts + marks, dtype=torch.bool).repeat(len(new), 1, 1)
        kept = torch.zeros_like(ids, dtype=torch.bool)
        for i, (candidate, tokens) in enumerate(zip(candidates, new, strict=True)):
            ids[i, : len(tokens)] = torch.tensor(tokens)
            own[i, : len(tokens), : len(tokens)] = torch.ones((len(tokens),) * 2).tril().bool()
            # The last token is read again with the next step, as the policy does.
            kept[i, : len(tokens) - 1] = True
            for j, kind in enumerate(candidate.kinds):
                ids[i, texts + j] = self.contract.marker_ids[kind]
                own[i, texts + j, : len(tokens)] = True
        below = self._rows[1].select([c.rows[1] for c in candidates])
        hidden, self._rows[1] = _extend(self.prm, below, ids, own, kept)
        minus, plus = self.contract.label_ids
        with torch.no_grad():
            pair = self.prm.lm_head(hidden[:, texts:])[..., [minus, plus]]
        right = torch.sigmoid(pair[..., 1] - pair[..., 0]).tolist()
        return [
            replace(c, score=min([c.score, *p[: len(c.kinds)]]), rows=(c.rows[0], i))
            for i, (c, p) in enumerate(zip(candidates, right, strict=True))
        ]
