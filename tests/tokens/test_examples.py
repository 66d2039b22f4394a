"""Records and rollouts to token trees."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from toolprm_jax.annotation.corruption import corruptions, gold_completion
from toolprm_jax.annotation.labels import GRANULARITY, Labelled, label_completion
from toolprm_jax.annotation.steps_file import LabelledCompletion
from toolprm_jax.grammar.types import Kind
from toolprm_jax.records.types import DataError, Record
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.contract import Granularity, Target, make_contract
from toolprm_jax.tokens.examples import lm_trees, marked_path, prm_trees
from toolprm_jax.tokens.tree import TokenTree
from toolprm_jax.toolworld.masked import masked_group

RECORDS = [record for index in range(4) for record in masked_group(3, "train", index, 2)]
GRANULARITIES: list[Granularity] = ["toolprm", "cprm", "orm"]
Sample = tuple[tuple[int, ...], int, int]  # tokens up to and with the marker, kind, label


def codec_of(
    tokenizer: PreTrainedTokenizerBase,
    template: str = "compact",
    granularity: Granularity = "toolprm",
    target: Target = "label",
) -> Codec:
    return Codec(tokenizer, make_contract(tokenizer, 2048, template, granularity, target))


def labelled(codec: Codec, record: Record, text: str) -> tuple[LabelledCompletion, Labelled]:
    result = label_completion(record, text, dress=codec.template.dress)
    return LabelledCompletion(text, result.steps, died=result.error is not None), result


def completions(codec: Codec, record: Record) -> list[str]:
    dress = codec.template.dress
    wrong = [text for _, text, _ in corruptions(record, random.Random(record.id), dress)]
    return [gold_completion(record, dress), *wrong, ""]


def samples_of(trees: Sequence[TokenTree]) -> Counter[Sample]:
    """Every weighted marker with the tokens above it, read off the arrays."""
    out: Counter[Sample] = Counter()
    for tree in trees:
        for index in range(len(tree.tokens)):
            if tree.kinds[index] < 0:
                assert tree.weights[index] == 0
                continue
            assert tree.sizes[index] == 1  # a leaf
            path, node = [], index
            while True:
                path.append(int(tree.tokens[node]))
                if not tree.parent_offsets[node]:
                    break
                node -= int(tree.parent_offsets[node])
            key = (tuple(reversed(path)), int(tree.kinds[index]), int(tree.labels[index]))
            out[key] += round(float(tree.weights[index]))
    return out


def naive_samples(codec: Codec, record: Record, rollout: LabelledCompletion) -> Counter[Sample]:
    """One sample per decision, cut where the bytes say."""
    contract = codec.contract
    ids = list(rollout.token_ids or codec.encode(rollout.completion))
    out: Counter[Sample] = Counter()
    for step in rollout.steps:
        if step.kind not in GRANULARITY[str(contract.granularity)]:
            continue
        cut = 0
        while len(codec.decode(ids[:cut])) < step.end:
            cut += 1
        path = ids[:cut]
        last = step is rollout.steps[-1]
        if codec.template.dress == "tool_call" and last and not rollout.died:
            path = [i for i in ids if i != contract.end_of_text] + [contract.end_of_text]
        tokens = (*codec.prompt(record), *path, contract.marker_ids[step.kind])
        label = step.label if contract.target == "label" else step.prefix
        out[tokens, int(step.kind), int(label)] += 1
    return out


def total(counters: Sequence[Counter[Sample]]) -> Counter[Sample]:
    return sum(counters, Counter[Sample]())


def paths_of(trees: Sequence[TokenTree]) -> Counter[tuple[int, ...]]:
    """Every weighted token with those above it, read off the arrays."""
    out: Counter[tuple[int, ...]] = Counter()
    for tree in trees:
        paths: list[tuple[int, ...]] = []
        for index, token in enumerate(tree.tokens.tolist()):
            offset = int(tree.parent_offsets[index])
            paths.append((*(paths[index - offset] if offset else ()), token))
            out[paths[index]] += round(float(tree.weights[index]))
    return +out


def gold_paths(codec: Codec, records: Sequence[Record]) -> Counter[tuple[int, ...]]:
    out: Counter[tuple[int, ...]] = Counter()
    for record in records:
        prompt, gold = codec.prompt(record), codec.gold(record)
        for stop in range(1, len(gold) + 1):
            out[(*prompt, *gold[:stop])] += 1
    return out


def test_lm_trees_weigh_every_gold_token_once(small_codec: Codec) -> None:
    group = masked_group(5, "train", 1, 4)
    lengths = [len(small_codec.prompt(r)) + len(small_codec.gold(r)) for r in group]
    (tree,), too_long = lm_trees(small_codec, group, sum(lengths))
    assert too_long == []
    assert (tree.kinds == -1).all()
    # The tools stand first and are the same for the group, so they are stored once.
    assert len(tree.tokens) < sum(lengths)
    assert paths_of([tree]) == gold_paths(small_codec, group)
    # In rows that hold one record each, nothing is shared and nothing is lost.
    split, too_long = lm_trees(small_codec, group, max(lengths))
    assert too_long == []
    assert len(split) > 1
    assert all(len(tree.tokens) <= max(lengths) for tree in split)
    assert paths_of(split) == gold_paths(small_codec, group)


def test_gold_that_fits_no_row_is_counted(small_codec: Codec) -> None:
    group = masked_group(5, "train", 1, 4)
    lengths = [len(small_codec.prompt(r)) + len(small_codec.gold(r)) for r in group]
    limit = max(lengths) - 1
    fits = [r for r, length in zip(group, lengths, strict=True) if length <= limit]
    trees, too_long = lm_trees(small_codec, group, limit)
    assert len(too_long) == len(group) - len(fits) > 0
    assert paths_of(trees) == gold_paths(small_codec, fits)
    assert lm_trees(small_codec, group, 3) == ([], lengths)


def test_equal_gold_paths_add_up(small_codec: Codec) -> None:
    ((once,), _), ((twice,), _) = (lm_trees(small_codec, RECORDS[:1] * n, 4096) for n in (1, 2))
    assert once.tokens.tolist() == twice.tokens.tolist()
    assert (2 * once.weights).tolist() == twice.weights.tolist()


@pytest.mark.parametrize("template", ["compact", "qwen"])
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("target", ["label", "prefix"])
def test_markers_hang_on_the_token_that_closes_the_decision(
    template: str,
    granularity: Granularity,
    target: Target,
    small_tokenizer: PreTrainedTokenizerBase,
) -> None:
    codec = codec_of(small_tokenizer, template, granularity, target)
    died = 0
    for record in RECORDS:
        rollouts = [labelled(codec, record, text)[0] for text in completions(codec, record)]
        died += sum(rollout.died for rollout in rollouts)
        trees, too_long = prm_trees(codec, [(record, rollouts)], 4096)
        assert too_long == []
        assert len(trees) == 1
        expected = total([naive_samples(codec, record, rollout) for rollout in rollouts])
        assert samples_of(trees) == expected
        steps = [s for r in rollouts for s in r.steps if s.kind in GRANULARITY[granularity]]
        assert trees[0].weights.sum() == len(steps)
    assert died


def test_the_empty_completion_hangs_its_marker_on_the_prompt(small_codec: Codec) -> None:
    rollout, result = labelled(small_codec, RECORDS[0], "")
    assert result.error
    ids, markers = marked_path(small_codec, rollout)
    assert ids == []
    marker = small_codec.contract.marker_ids[Kind.TOTAL_FINISH]
    assert markers == [(-1, marker, int(Kind.TOTAL_FINISH), 0)]


def test_no_call_in_the_tool_call_dress_is_judged_at_the_end_of_text(
    small_tokenizer: PreTrainedTokenizerBase,
) -> None:
    codec = codec_of(small_tokenizer, "qwen")
    end = codec.contract.end_of_text
    rollout, result = labelled(codec, RECORDS[0].with_(answers=()), "no tool fits")
    assert result.correct
    text = codec.encode(rollout.completion)
    for ids in (None, tuple(text), (*text, end)):
        path, markers = marked_path(codec, rollout._replace(token_ids=ids))
        assert path == [*text, end]
        assert [(marker[0], marker[3]) for marker in markers] == [(len(path) - 1, 1)]


def byte_ids(codec: Codec, text: str) -> tuple[int, ...]:
    single = {piece: index for index, piece in enumerate(codec.pieces) if piece is not None}
    return tuple(single[bytes([byte])] for byte in text.encode())


def test_sampled_ids_are_kept_though_they_are_not_canonical(small_codec: Codec) -> None:
    record = RECORDS[0]
    text = gold_completion(record)
    rollout, _ = labelled(small_codec, record, text)
    sampled = rollout._replace(token_ids=byte_ids(small_codec, text))
    assert sampled.token_ids != tuple(small_codec.encode(text))
    ids, markers = marked_path(small_codec, sampled)
    assert ids == list(byte_ids(small_codec, text))[: rollout.steps[-1].end]
    assert [marker[0] for marker in markers] == [step.end - 1 for step in rollout.steps]
    trees, _ = prm_trees(small_codec, [(record, [rollout, sampled])], 4096)
    both = [naive_samples(small_codec, record, r) for r in (rollout, sampled)]
    assert samples_of(trees) == total(both)


def test_ids_after_the_list_are_left_out(small_codec: Codec) -> None:
    text = gold_completion(RECORDS[0])
    rollout, _ = labelled(small_codec, RECORDS[0], text)
    ids = (*small_codec.encode(text), small_codec.contract.end_of_text)
    path, _ = marked_path(small_codec, rollout._replace(token_ids=ids))
    assert path == small_codec.encode(text)


@pytest.mark.parametrize("beyond", [0, 2**31, 10**12])
def test_ids_that_are_no_tokens_are_refused(small_codec: Codec, beyond: int) -> None:
    rollout, _ = labelled(small_codec, RECORDS[0], "[]")
    # They stand for no bytes, so that the text is spelled all the same.
    ids = (*small_codec.encode("[]"), len(small_codec.pieces) + beyond)
    with pytest.raises(DataError, match=f"token_ids: {ids[-1]} is no token"):
        marked_path(small_codec, rollout._replace(token_ids=ids))


def test_ids_that_spell_another_text_are_refused(small_codec: Codec) -> None:
    rollout, _ = labelled(small_codec, RECORDS[0], "[]")
    wrong = rollout._replace(token_ids=tuple(small_codec.encode("[] ")))
    with pytest.raises(DataError, match=r"token_ids: .*do not spell the completion '\[\]'"):
        marked_path(small_codec, wrong)


def test_broken_utf8_is_trained_on_as_the_text_that_was_labelled(small_codec: Codec) -> None:
    text = gold_completion(RECORDS[0]).replace('"', '"\ufffd', 1)
    rollout, _ = labelled(small_codec, RECORDS[0], text)
    broken = text.encode().replace("\ufffd".encode(), b"\xff")
    single = {piece: index for index, piece in enumerate(small_codec.pieces) if piece is not None}
    ids = tuple(single[bytes([byte])] for byte in broken)
    assert marked_path(small_codec, rollout._replace(token_ids=ids)) == marked_path(
        small_codec, rollout
    )


def test_steps_past_the_completion_are_refused(small_codec: Codec) -> None:
    rollout, _ = labelled(small_codec, RECORDS[0], "[]")
    with pytest.raises(DataError, match="one ends past the 1 bytes"):
        marked_path(small_codec, rollout._replace(completion="["))


def test_composed_accents_do_not_move_the_markers(
    qwen_tokenizer: PreTrainedTokenizerBase,
) -> None:
    contract = make_contract(qwen_tokenizer, 151_936, "hammer", "toolprm", "label")
    codec = Codec(qwen_tokenizer, contract)
    text = '[{"name": "f", "arguments": {"x": "e\u0301e\u0301e\u0301e\u0301"}}]'
    rollout, _ = labelled(codec, RECORDS[0], text)
    ids, markers = marked_path(codec, rollout)
    assert codec.decode(ids) == text.encode()
    for (index, *_), step in zip(markers, rollout.steps, strict=True):
        assert len(codec.decode(ids[:index])) < step.end <= len(codec.decode(ids[: index + 1]))


@pytest.mark.parametrize("spare", [0, 7, 40, 200])
def test_splitting_repeats_the_prompt_and_loses_nothing(spare: int, small_codec: Codec) -> None:
    record = RECORDS[1]
    prompt = small_codec.prompt(record)
    rollouts = [labelled(small_codec, record, t)[0] for t in completions(small_codec, record)]
    needs = [
        len(prompt) + len(ids) + len(set(markers))
        for ids, markers in (marked_path(small_codec, rollout) for rollout in rollouts)
    ]
    row_length = max(needs) + spare
    trees, too_long = prm_trees(small_codec, [(record, rollouts)], row_length)
    assert too_long == []
    assert all(len(tree.tokens) <= row_length for tree in trees)
    assert all(tree.tokens[: len(prompt)].tolist() == prompt for tree in trees)
    assert samples_of(trees) == total([naive_samples(small_codec, record, r) for r in rollouts])
    if spare == 0:
        assert len(trees) > 1


def test_rollouts_that_fit_no_row_are_counted(small_codec: Codec) -> None:
    record = RECORDS[0]
    text = gold_completion(record)
    short, long = (labelled(small_codec, record, t)[0] for t in ("", text))
    ids, markers = marked_path(small_codec, long)
    row_length = len(small_codec.prompt(record)) + len(ids) + len(markers) - 1
    rollouts: list[Any] = [long, short, long]
    trees, too_long = prm_trees(small_codec, [(record, rollouts)], row_length)
    assert len(too_long) == 2
    assert samples_of(trees) == naive_samples(small_codec, record, short)
    none, lengths = prm_trees(small_codec, [(record, rollouts)], 10)
    assert (none, len(lengths)) == ([], 3)
