"""Attention and LSTM heads: poolings by hand, training against a plain loop, what they learn."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence

from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.features.layers import Layering
from pianoeval.features.sequences import Sequences
from pianoeval.losses.regression import loss_of
from pianoeval.models.attention import AttentionPooling, predict_attention
from pianoeval.models.base import Fold, FoldPrediction, Standardiser
from pianoeval.models.lstm import LstmPooling, predict_lstm
from pianoeval.models.registry import PROBES
from pianoeval.models.sequence_data import FoldData
from pianoeval.models.sequence_training import Head
from pianoeval.params import (
    READS_SEQUENCES,
    AttentionParams,
    LossName,
    LstmParams,
    MlpParams,
    ModelName,
    ProbeParams,
    RunParams,
    SequenceParams,
)
from pianoeval.training.fitted import model_key
from pianoeval.training.predict import with_loss

SMALL = MlpParams(hidden=16, batch_size=8, max_epochs=6, patience=3, dropout=0.0)
FRAMES = SequenceParams(learning_rate=5e-3)


def make_fold(
    n_clips: int = 48, dim: int = 4, seed: int = 0, truth: str = "mean", longest: int = 9
) -> tuple[Fold, np.ndarray]:
    """A fold and the labels of all clips: of the mean, of the marked frame, or of the order."""
    rng = np.random.default_rng(seed)
    length = rng.integers(2, longest + 1, n_clips)
    start = np.cumsum(length) - length
    values = rng.normal(2, 3, (int(length.sum()), dim)).astype(np.float32)
    y = np.empty((n_clips, 2))
    for clip in range(n_clips):
        rows = values[start[clip] : start[clip] + length[clip]]
        if truth == "marked":
            rows[:, 0] = 0
            marked = rng.integers(len(rows))
            rows[marked, 0] = 9
            y[clip] = rows[marked, 1:3]
        elif truth == "order":
            y[clip] = (rows[-1] - rows[0])[:2]
        else:
            y[clip] = rows.mean(axis=0)[:2]
    y = 0.5 + 0.1 * y / y.std()
    order = rng.permutation(n_clips)
    test, train = np.sort(order[: n_clips // 4]), np.sort(order[n_clips // 4 :])
    group = np.arange(len(train)) % 5
    split = (np.flatnonzero(group != 0), np.flatnonzero(group == 0))
    x = rng.normal(size=(n_clips, 5)).astype(np.float32)  # two layers of two, and the level
    sequences = Sequences(values, start, length)
    fold = Fold(f"toy/{seed}", x, train, test, y[train], [split], split, Layering(2, 2), sequences)
    return fold, y


def attend(folds: list[Fold], params: MlpParams = SMALL, **frames: object) -> list[FoldPrediction]:
    return predict_attention(
        folds, params, FRAMES.model_copy(update=frames), AttentionParams(width=6)
    )


def remember(folds: list[Fold], params: MlpParams = SMALL, **f: object) -> list[FoldPrediction]:
    return predict_lstm(folds, params, FRAMES.model_copy(update=f), LstmParams(width=6))


HEADS = pytest.mark.parametrize("predict", [attend, remember])


def r2(truth: np.ndarray, found: np.ndarray) -> float:
    return float(1 - ((truth - found) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum())


# Poolings ----------------------------------------------------------------------------------------


def padded(lengths: list[int], dim: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    real = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    return torch.randn(len(lengths), max(lengths), dim) * real[:, :, None], real


def test_attention_begins_as_the_mean_and_by_hand_later() -> None:
    pooling = AttentionPooling(3, 5)
    values, real = padded([4, 1, 2], 3)
    expected = torch.stack([values[i, :n].mean(0) for i, n in enumerate((4, 1, 2))])
    torch.testing.assert_close(pooling(values, real), expected)
    with torch.no_grad():
        pooling.query.normal_()
    weight, bias = pooling.compare.weight.detach().numpy(), pooling.compare.bias.detach().numpy()
    for i, n in enumerate((4, 1, 2)):
        rows = values[i, :n].numpy()
        scores = np.tanh(rows @ weight.T + bias) @ pooling.query.detach().numpy()
        share = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(pooling(values, real)[i].detach(), share @ rows, atol=1e-6)
        np.testing.assert_allclose(pooling.weights(values, real)[i, :n].detach(), share, atol=1e-6)
    assert (pooling.weights(values, real)[~real] == 0).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 99))
def test_lstm_equals_packed_sequences(lengths: list[int], seed: int) -> None:
    """torch's own bidirectional network on packed sequences, with the same weights."""
    values, real = padded(lengths, 3, seed)
    ours, theirs = LstmPooling(3, 4), torch.nn.LSTM(3, 4, batch_first=True, bidirectional=True)
    state = {f"{name}": w for name, w in ours.onwards.state_dict().items()}
    state |= {f"{name}_reverse": w for name, w in ours.backwards.state_dict().items()}
    theirs.load_state_dict(state)
    packed = pack_padded_sequence(values, real.sum(1), batch_first=True, enforce_sorted=False)
    _, (last, _) = theirs(packed)
    torch.testing.assert_close(ours(values, real), torch.cat([last[0], last[1]], 1))


@pytest.mark.parametrize("pooling", [AttentionPooling(3, 5), LstmPooling(3, 5)])
def test_padding_is_never_read(pooling: torch.nn.Module) -> None:
    if isinstance(pooling, AttentionPooling):
        torch.nn.init.normal_(pooling.query)
    values, real = padded([5, 2], 3)
    other = torch.where(real[:, :, None], values, torch.full_like(values, 1e3))
    torch.testing.assert_close(pooling(other, real), pooling(values, real))


# Inputs ------------------------------------------------------------------------------------------


def test_mean_of_frames_is_what_the_perceptron_reads() -> None:
    """Scaled as the clips' means are; what belongs to no layer comes along."""
    fold, _ = make_fold()
    assert fold.validation is not None
    assert fold.sequences is not None
    fit = fold.train[fold.validation[0]]
    data = FoldData(fold, fit, FRAMES, "clips")
    clips = np.concatenate([fold.test, fold.train])
    batch = data.batch(clips)
    means = np.stack([rows.mean(axis=0) for rows in fold.sequences])
    expected = Standardiser.fit(means[fit]).transform(means[clips])
    found = (batch.values.sum(1) / batch.real.sum(1, keepdim=True)).numpy()
    # Frames are centred on the mean frame, means on the mean mean: the same but for lengths.
    np.testing.assert_allclose(found - found.mean(0), expected - expected.mean(0), atol=1e-4)
    level = Standardiser.fit(fold.x[fit, 4:]).transform(fold.x[clips, 4:])
    np.testing.assert_allclose(batch.extra, level, atol=1e-6)


def test_components_keep_distances_and_missing_values_are_means() -> None:
    fold, _ = make_fold(dim=5)
    assert fold.sequences is not None
    assert fold.validation is not None
    fit = fold.train[fold.validation[0]]
    whole = FoldData(fold, fit, FRAMES, "rows").values
    turned = FoldData(fold, fit, FRAMES.model_copy(update={"pca_above": 4}), "clips")
    assert turned.values.shape == whole.shape
    narrow = FRAMES.model_copy(update={"pca_above": 4, "pca_components": 2})
    found = FoldData(fold, fit, narrow, "rows").values.numpy()
    rows = np.concatenate([np.arange(fold.sequences.length.sum())[fold.sequences.rows(c)]
                           for c in np.sort(np.concatenate([fold.train, fold.test]))])  # fmt: skip
    of_fit = np.isin(np.repeat(np.arange(len(fold.sequences)), fold.sequences.length)[rows], fit)
    _, _, axes = np.linalg.svd(whole.numpy()[of_fit], full_matrices=False)
    expected = whole.numpy() @ axes[:2].T
    expected /= expected[of_fit].std(axis=0)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-3)
    holed = fold.sequences.values.copy()
    holed[3, 1] = np.nan
    data = FoldData(
        replace(fold, sequences=replace(fold.sequences, values=holed)), fit, FRAMES, "rows"
    )
    assert torch.isfinite(data.values).all()


def test_every_clip_comes_once_an_epoch_among_clips_of_like_length() -> None:
    fold, _ = make_fold(n_clips=200, longest=40)
    assert fold.sequences is not None
    data = FoldData(fold, fold.train, FRAMES, "rows")
    orders = [list(data.order(fold.train, epoch, SMALL)) for epoch in (1, 2)]
    for order in orders:
        assert sorted(np.concatenate(order)) == list(range(len(fold.train)))
        assert all(len(part) <= SMALL.batch_size for part in order)
    spread = [np.ptp(fold.sequences.length[fold.train[part]]) for part in orders[0]]
    assert np.mean(spread) < 12  # 38 and more, if drawn from all
    assert not np.array_equal(np.concatenate(orders[0]), np.concatenate(orders[1]))


# Training ----------------------------------------------------------------------------------------


def literal(fold: Fold, params: MlpParams, lstm: bool) -> np.ndarray:
    """One clip at a time, unpadded, in a plain loop; best epoch by validation R²."""
    assert fold.validation is not None
    fit, held = fold.validation
    data = FoldData(fold, fold.train[fit], FRAMES, "rows" if lstm else "clips")
    centre, spread = fold.y[fit].mean(0), fold.y[fit].std(0)
    y = (fold.y - centre) / spread

    def make(dim: int) -> tuple[torch.nn.Module, int]:
        return (LstmPooling(dim, 6), 12) if lstm else (AttentionPooling(dim, 6), dim)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        head = Head(make, data.values.shape[1], data.extra.shape[1], 2, params)

    def output(clips: np.ndarray) -> torch.Tensor:
        rows = []
        for clip in clips:
            one = data.batch(np.array([clip]))
            rows.append(head(one.values, one.real, one.extra)[0])
        return torch.stack(rows)

    adam = torch.optim.Adam(head.parameters(), lr=FRAMES.learning_rate,
                            weight_decay=params.weight_decay)  # fmt: skip
    best, chosen, since = -np.inf, np.empty(0), 0
    for epoch in range(1, params.max_epochs + 1):
        for part in data.order(fold.train[fit], epoch, params):
            error = output(fold.train[fit][part]) - torch.tensor(y[fit][part], dtype=torch.float32)
            adam.zero_grad()
            error.square().mean().backward()
            adam.step()
        with torch.no_grad():
            guess = output(fold.train[held]).double().numpy()
            total = ((y[held] - y[held].mean(0)) ** 2).sum(0)
            score = float((1 - ((guess - y[held]) ** 2).sum(0) / total).mean())
            if score > best:
                best, since, chosen = score, 0, output(fold.test).double().numpy()
            else:
                since += 1
                if since >= params.patience:
                    break
    return chosen * spread + centre


@HEADS
def test_equals_the_plain_loop(predict: object) -> None:
    fold, _ = make_fold()
    found = attend([fold]) if predict is attend else remember([fold])
    np.testing.assert_allclose(
        found[0].values, literal(fold, SMALL, predict is remember), atol=1e-4
    )


def test_attention_finds_the_frame_that_counts() -> None:
    fold, y = make_fold(n_clips=240, truth="marked", longest=8)
    long = MlpParams(hidden=64, batch_size=16, max_epochs=80, dropout=0.0)
    found = attend([fold], long)[0].values
    uniform = AttentionPooling.weights
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            AttentionPooling,
            "weights",
            lambda self, v, r: uniform(self, v * 0, r) + 0 * self.query.sum(),
        )
        mean = attend([fold], long)[0].values
    assert r2(y[fold.test], found) > 0.6
    assert r2(y[fold.test], mean) < r2(y[fold.test], found) - 0.2


def test_lstm_hears_the_order_which_no_weighted_mean_does() -> None:
    fold, y = make_fold(n_clips=240, truth="order", longest=6)
    long = MlpParams(hidden=32, batch_size=16, max_epochs=40, dropout=0.0)
    assert r2(y[fold.test], remember([fold], long)[0].values) > 0.6
    assert r2(y[fold.test], attend([fold], long)[0].values) < 0.3


@HEADS
def test_repeated_alone_and_among_others(predict: object) -> None:
    run = attend if predict is attend else remember
    folds = [make_fold(seed=seed)[0] for seed in (0, 1)]
    dropped = SMALL.model_copy(update={"dropout": 0.3})
    state = torch.random.get_rng_state()
    together = run(folds, dropped)
    assert torch.equal(torch.random.get_rng_state(), state)
    for fold, one in zip(folds, together, strict=True):
        np.testing.assert_array_equal(run([fold], dropped)[0].values, one.values)
    other = run(folds[:1], dropped.model_copy(update={"seed": 7}))[0].values
    assert np.abs(other - together[0].values).max() > 1e-4


@HEADS
def test_test_clips_teach_nothing(predict: object) -> None:
    """A test clip's frames decide its own prediction, and no other's."""
    run = attend if predict is attend else remember
    fold, _ = make_fold()
    assert fold.sequences is not None
    values = fold.sequences.values.copy()
    values[fold.sequences.rows(int(fold.test[0]))] += 50
    moved = replace(fold, sequences=replace(fold.sequences, values=values))
    before, after = (run([one], pca_above=3, pca_components=2)[0].values for one in (fold, moved))
    np.testing.assert_allclose(after[1:], before[1:], atol=1e-6)
    assert np.abs(after[0] - before[0]).max() > 1e-3


@pytest.mark.parametrize("loss", ["ccc", "huber", "bootstrap_soft"])
def test_losses_reach_the_heads(loss: LossName) -> None:
    fold, _ = make_fold()
    other = SMALL.model_copy(update={"loss": loss})
    assert np.abs(attend([fold], other)[0].values - attend([fold])[0].values).max() > 1e-6
    assert callable(loss_of(other))


@HEADS
def test_refusals(predict: object) -> None:
    run = attend if predict is attend else remember
    fold, _ = make_fold()
    with pytest.raises(ConfigError, match="no sequences"):
        run([replace(fold, sequences=None)])
    with pytest.raises(ConfigError, match="no validation group"):
        run([replace(fold, validation=None)])
    with pytest.raises(ConfigError, match="varies"):
        run([replace(fold, y=np.full_like(fold.y, 0.5))])
    with pytest.raises(PianoevalError, match="diverged"):
        run([fold], learning_rate=1e30)
    assert run([]) == []


# Names and keys ----------------------------------------------------------------------------------


def probe(**blocks: object) -> ProbeParams:
    data = {"ridge": {"lambdas": [1.0]}, "mlp": {}, "extra_trees": {}, "boosting": {}}
    return ProbeParams.model_validate(data | {"ensemble": ["ridge"]} | blocks)


def test_registry() -> None:
    assert {"attention", "lstm"} <= READS_SEQUENCES & PROBES.keys()
    small = {"hidden": 8, "max_epochs": 2, "batch_size": 8}
    chosen = probe(mlp=small, attention={"width": 4}, lstm={"width": 4})
    fold, _ = make_fold()
    names: tuple[ModelName, ...] = ("attention", "lstm")
    for name in names:
        [found] = PROBES[name].predict([fold], chosen, RunParams())
        assert found.values.shape == (len(fold.test), 2)
        assert PROBES[name].seed(chosen) == 42


def key(chosen: ProbeParams, model: ModelName) -> str:
    study = SimpleNamespace(probe=chosen, part=None, renders=None)
    return model_key(study, {"features": "0"}, model)  # type: ignore[arg-type]


def test_keys_know_what_a_head_reads() -> None:
    changed = [
        probe(), probe(mlp={"hidden": 64}), probe(sequence={"learning_rate": 0.01}),
        probe(attention={"width": 8}), with_loss(probe(), "ccc"),
    ]  # fmt: skip
    assert len({key(one, "attention") for one in changed}) == 5
    assert len({key(one, "lstm") for one in changed}) == 4
    assert len({key(one, "ridge") for one in changed}) == 1


def test_the_key_of_han_knows_the_seed_that_draws_the_validation_group() -> None:
    """Which is probe.mlp.seed for every model that stops on it."""
    seeds = [(42, 42), (43, 42), (42, 43), (43, 43), (44, 42)]
    keys = {key(probe(mlp={"seed": a}, han={"seed": b}), "han") for a, b in seeds}
    assert len(keys) == len(seeds)
    assert key(probe(mlp={"hidden": 64}), "han") == key(probe(), "han")


def test_the_loss_of_a_view() -> None:
    assert with_loss(probe(), None) == probe()
    assert with_loss(probe(), "mae").mlp.loss == "mae"
    assert with_loss(probe(mlp={"loss": "ccc"}), "mse").mlp.loss == "mse"
    assert key(with_loss(probe(), "mse"), "mlp") == key(probe(), "mlp")
    assert key(with_loss(probe(), "mae"), "mlp") == key(probe(mlp={"loss": "mae"}), "mlp")
