"""The network over notes against literal twins, and what its training may and may not see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.features.sequences import Sequences
from pianoeval.models.base import Fold, Standardiser
from pianoeval.models.han import Clips, batches_of, predict_han, train_fold
from pianoeval.models.han_net import BothWays, ClipDropout, GroupAttention, Han
from pianoeval.params import HanParams, RunParams

SMALL = HanParams(
    hidden=8, heads=4, dropout=0.0, learning_rate=0.02, batch_size=16, max_epochs=12, patience=12
)
ONE = RunParams(workers=1)


def made_sequences(n_clips: int, dim: int, seed: int = 0) -> Sequences:
    """Clips of 3 to 12 notes, two a beat, four a measure."""
    rng = np.random.default_rng(seed)
    length = rng.integers(3, 13, n_clips)
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    values = rng.normal(size=(int(length.sum()), dim)).astype(np.float32)
    place = np.concatenate([np.arange(n) for n in length])
    marks = {"beat": (place // 2).astype(np.int32), "measure": (place // 4).astype(np.int32)}
    return Sequences(values, start.astype(np.int64), length.astype(np.int64), marks)


def made_fold(n_clips: int = 80, seed: int = 0) -> Fold:
    """Labels that only the order tells: whether the first column rises or falls."""
    rng = np.random.default_rng(seed)
    sequences = made_sequences(n_clips, 3, seed)
    sign = rng.choice([-1.0, 1.0], n_clips)
    values = sequences.values.copy()
    for clip in range(n_clips):
        rows = sequences.rows(clip)
        values[rows, 0] = sign[clip] * np.linspace(-1, 1, int(sequences.length[clip]))
    y = np.stack([0.5 + 0.1 * sign, 0.3 - 0.2 * sign], axis=1)
    y += 0.01 * rng.normal(size=y.shape)
    test, train = np.arange(60, n_clips), np.arange(60)
    group = np.arange(60) % 5
    inner = [(np.flatnonzero(group != g), np.flatnonzero(group == g)) for g in range(5)]
    sequences = replace(sequences, values=values)
    x = np.zeros((n_clips, 0), np.float32)
    return Fold(
        f"toy/{seed}", x, train, test, y[train], inner, inner[0], sequences=sequences
    )  # fmt: skip


def as_clips(sequences: Sequences) -> Clips:
    return Clips.of(sequences, Standardiser.fit(sequences.values))


# The network ------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 100))
def test_both_ways_is_torchs_bidirectional_lstm_on_packed_sequences(
    lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    ours, theirs = BothWays(3, 4), torch.nn.LSTM(3, 4, batch_first=True, bidirectional=True)
    for name, value in ours.forwards.state_dict().items():
        theirs.state_dict()[name].copy_(value)
    for name, value in ours.backwards.state_dict().items():
        theirs.state_dict()[f"{name}_reverse"].copy_(value)
    x = torch.randn(len(lengths), max(lengths), 3)
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    found = ours(x, torch.tensor(lengths))
    for clip, length in enumerate(lengths):
        torch.testing.assert_close(found[clip, :length], expected[clip, :length])


def literal_attention(module: GroupAttention, rows: torch.Tensor) -> torch.Tensor:
    """Yang et al. 2016, eqs. 5-7, one group, one head after another."""
    heads, width = module.context.shape
    hidden = torch.tanh(rows @ module.project.weight.T + module.project.bias)
    parts = []
    for head in range(heads):
        some = slice(head * width, (head + 1) * width)
        weight = torch.softmax(hidden[:, some] @ module.context[head], dim=0)
        parts.append(weight @ rows[:, some])
    return torch.cat(parts)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 100))
def test_attention_is_a_softmax_within_each_group(groups: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    module = GroupAttention(8, 4)
    with torch.no_grad():
        module.context.mul_(100)  # scores far apart must not overflow
    rows, group = torch.randn(len(groups), 8), torch.tensor(groups)
    found = module(rows, group, 4)
    for number in range(4):
        there = group == number
        expected = literal_attention(module, rows[there]) if there.any() else torch.zeros(8)
        torch.testing.assert_close(found[number], expected, atol=1e-5, rtol=1e-4)


def literal_han(
    net: Han, values: torch.Tensor, beat: list[int], measure: list[int]
) -> torch.Tensor:
    """One clip without padding, group by group."""

    def both(module: BothWays, x: torch.Tensor) -> torch.Tensor:
        back = module.backwards(x.flip(0)[None])[0][0].flip(0)
        return torch.cat([module.forwards(x[None])[0][0], back], dim=1)

    notes = both(net.note_lstm, net.embed(values))
    beats, measures, of_beat = [], [], []
    for number in range(max(beat) + 1):
        rows = [i for i, b in enumerate(beat) if b == number]
        beats.append(literal_attention(net.beat_attention, notes[rows]))
        of_beat.append(measure[rows[0]])
    beat_states = both(net.beat_lstm, torch.stack(beats))
    for number in range(max(measure) + 1):
        rows = [i for i, m in enumerate(of_beat) if m == number]
        measures.append(literal_attention(net.measure_attention, beat_states[rows]))
    measure_states = both(net.measure_lstm, torch.stack(measures))
    whole = torch.cat([notes, beat_states[beat], measure_states[measure]], dim=1)
    return net.head(literal_attention(net.clip_attention, net.contract(whole)))


def test_the_network_is_its_literal_twin_whatever_the_batch() -> None:
    sequences = made_sequences(7, 5)
    clips = as_clips(sequences)
    torch.manual_seed(0)
    net = Han(5, 3, SMALL).eval()
    with torch.no_grad():
        together = net(clips.batch(np.arange(7)))
        for clip in range(7):
            rows = sequences.rows(clip)
            values = torch.from_numpy(clips.values[rows])
            expected = literal_han(
                net, values, clips.beat[rows].tolist(), clips.measure[rows].tolist()
            )
            torch.testing.assert_close(together[clip], expected, atol=1e-5, rtol=1e-4)
            alone = net(clips.batch(np.array([clip])))[0]
            torch.testing.assert_close(together[clip], alone, atol=1e-5, rtol=1e-4)


def test_dropout_has_one_mask_a_clip_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = ClipDropout(0.25)
    out = drop(torch.ones(50, 7, 40))
    assert (out == out[:, :1]).all()
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float((out == 0).float().mean()) == pytest.approx(0.25, abs=0.05)
    assert (drop.eval()(torch.ones(2, 3, 4)) == 1).all()


# What it is given -------------------------------------------------------------------------------


def test_marks_with_gaps_and_beats_cut_by_measures_become_a_hierarchy() -> None:
    """Beat 4 lies in two measures; numbers start anywhere."""
    marks = {
        "beat": np.array([3, 3, 4, 4, 9, 0, 0], np.int32),
        "measure": np.array([7, 7, 7, 8, 8, 5, 5], np.int32),
    }
    sequences = Sequences(
        np.arange(7, dtype=np.float32)[:, None], np.array([0, 5]), np.array([5, 2]), marks
    )
    clips = as_clips(sequences)
    np.testing.assert_array_equal(clips.beat, [0, 0, 1, 2, 3, 0, 0])
    np.testing.assert_array_equal(clips.measure, [0, 0, 0, 1, 1, 0, 0])
    batch = clips.batch(np.array([1, 0]))
    assert batch.notes.tolist() == [2, 5]
    assert batch.beats.tolist() == [1, 4]
    assert batch.measures.tolist() == [1, 2]
    assert batch.measure_of_beat.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]
    np.testing.assert_array_equal(marks["beat"], [3, 3, 4, 4, 9, 0, 0])  # of the caller


def test_what_does_not_exist_is_the_median_and_outliers_are_cut() -> None:
    sequences = made_sequences(5, 3)
    values = sequences.values.copy()
    values[4, 1], values[6, 2] = np.nan, 1e6
    found = as_clips(replace(sequences, values=values)).values
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 5
    assert found[4, 1] == pytest.approx(
        (np.nanmedian(values[:, 1]) - np.nanmean(values[:, 1])) / np.nanstd(values[:, 1]), abs=0.1
    )


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.integers(1, 9))
def test_every_clip_is_in_one_batch(lengths: list[int], size: int) -> None:
    parts = batches_of(np.array(lengths), size, np.random.default_rng(0))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    assert max(map(len, parts)) <= size


def test_batches_hold_clips_of_like_length_and_differ_between_epochs() -> None:
    lengths = np.random.default_rng(0).integers(10, 400, 300)
    rng = np.random.default_rng(1)
    one, other = batches_of(lengths, 30, rng), batches_of(lengths, 30, rng)
    assert np.mean([np.ptp(lengths[part]) for part in one]) < 0.4 * np.ptp(lengths)
    assert {tuple(sorted(part)) for part in one} != {tuple(sorted(part)) for part in other}


# Training ---------------------------------------------------------------------------------------


def test_it_learns_what_only_the_order_of_notes_tells() -> None:
    fold = made_fold()
    [found] = predict_han([fold], SMALL, ONE)
    assert fold.sequences is not None
    rising = np.array([fold.sequences.values[fold.sequences.rows(c), 0][0] < 0 for c in fold.test])
    truth = np.where(rising[:, None], [0.6, 0.1], [0.4, 0.5])
    r2 = 1 - ((truth - found.values) ** 2).sum(axis=0) / ((truth - truth.mean(axis=0)) ** 2).sum(
        axis=0
    )
    assert (r2 > 0.8).all()
    assert found.selection["validation_r2"][0] > 0.8
    assert 1 <= found.selection["epoch"][0] <= SMALL.max_epochs


def test_repetitions_and_workers_change_no_bit_and_seeds_are_averaged() -> None:
    short = SMALL.model_copy(update={"max_epochs": 2, "dropout": 0.3, "n_seeds": 2})
    folds = [made_fold()]
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = predict_han(folds, short, ONE)
    assert (torch.get_rng_state() == before).all()  # nobody else's stream is moved
    torch.manual_seed(7)
    for found in (predict_han(folds, short, ONE), predict_han(folds, short, RunParams(workers=2))):
        for a, b in zip(first, found, strict=True):
            assert a.values.tobytes() == b.values.tobytes()
            assert a.selection == b.selection
    single = [train_fold(folds[0], short.seed + number, short).values for number in range(2)]
    assert not np.allclose(single[0], single[1])
    np.testing.assert_array_equal(first[0].values, np.mean(single, axis=0))
    assert len(first[0].selection["epoch"]) == 2


def test_test_clips_and_their_company_do_not_reach_the_training() -> None:
    """Notes of test clips change nothing but the predictions of these clips."""
    short = SMALL.model_copy(update={"max_epochs": 2})
    fold = made_fold()
    assert fold.sequences is not None
    values = fold.sequences.values.copy()
    some = int(fold.test[3])
    values[fold.sequences.rows(some)] += 3
    other = replace(fold, sequences=replace(fold.sequences, values=values))
    [a], [b] = predict_han([fold], short, ONE), predict_han([other], short, ONE)
    assert a.selection == b.selection
    same = np.abs(a.values - b.values).max(axis=1) < 1e-6
    assert np.flatnonzero(~same).tolist() == [3]


def test_the_epoch_is_chosen_on_the_validation_group_alone() -> None:
    """With its labels turned round, what was best there is worst: the first epochs stay."""
    fold = made_fold()
    assert fold.validation is not None
    y = fold.y.copy()
    y[fold.validation[1]] = y.mean(axis=0) * 2 - y[fold.validation[1]]
    [right], [wrong] = (
        predict_han([fold], SMALL, ONE), predict_han([replace(fold, y=y)], SMALL, ONE)
    )  # fmt: skip
    assert wrong.selection["epoch"][0] < right.selection["epoch"][0]
    assert wrong.selection["validation_r2"][0] < 0.5


# Refusals ---------------------------------------------------------------------------------------


def test_what_it_cannot_read_is_refused() -> None:
    fold = made_fold()
    assert fold.sequences is not None
    with pytest.raises(ConfigError, match="reads notes in their order"):
        predict_han([replace(fold, sequences=None)], SMALL, ONE)
    with pytest.raises(ConfigError, match="have no beat"):
        predict_han([replace(fold, sequences=replace(fold.sequences, marks={}))], SMALL, ONE)
    with pytest.raises(ConfigError, match="no group to stop"):
        predict_han([replace(fold, validation=None)], SMALL, ONE)
    constant = replace(fold, y=np.full_like(fold.y, 0.5))
    with pytest.raises(ConfigError, match="no dimension varies"):
        predict_han([constant], SMALL, ONE)
    with pytest.raises(ValidationError, match="does not divide"):
        HanParams(hidden=8, heads=3)


def test_a_training_that_diverges_is_told() -> None:
    wild = SMALL.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(PianoevalError, match="diverged in fold toy/0"):
        predict_han([made_fold()], wild, ONE)
