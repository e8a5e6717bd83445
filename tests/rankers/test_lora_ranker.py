"""Rankers that adapt their encoder: they start frozen and learn what it is deaf to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lora_toys import DIM, deaf_encoder, ranker_params, toy_audio, toy_fold
from sklearn.linear_model import Ridge

from pianoeval.encoders.chunking import encode_clip
from pianoeval.encoders.registry import create_encoder
from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.params import CheckpointParams, RunParams
from pianoeval.params_rank import LoraParams, RankerParams
from pianoeval.rankers.audio import by_length
from pianoeval.rankers.base import RankFold, RankPrediction
from pianoeval.rankers.lora import predict_lora
from pianoeval.rankers.lora_start import Batches, frozen_start
from pianoeval.rankers.pairs import training_pairs
from pianoeval.store import RaggedStore

Toy = tuple[RaggedStore, np.ndarray, CheckpointParams]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    folder = tmp_path_factory.mktemp("lora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIANOEVAL_CACHE", str(folder / "cache"))
        yield *toy_audio(folder, n_segments=16, takes=10), deaf_encoder(folder / "tiny")


def fold_of(toy: Toy, params: RankerParams) -> RankFold:
    return toy_fold(*toy, params)


def predict(fold: RankFold, params: RankerParams) -> RankPrediction:
    [[found]] = predict_lora([fold], [params], RunParams())
    return found


def share_right(found: RankPrediction, fold: RankFold, labels: np.ndarray) -> float:
    difference = labels[fold.pairs[:, 0]] - labels[fold.pairs[:, 1]]
    return float(np.mean((found.margins > 0) == (difference > 0)))


def frozen_vectors(fold: RankFold) -> np.ndarray:
    assert fold.audio is not None
    encoder = create_encoder(fold.audio.encoder, "tiny")
    return fold.audio.pooled(encoder, np.arange(len(fold.x)), 7)


@pytest.mark.parametrize("loss", ["logistic", "margin"])
def test_a_difference_that_the_frozen_encoder_hardly_hears_is_learned(toy: Toy, loss: str) -> None:
    """Measured: frozen .68, adapted .92 (logistic), on 180 pairs of segments never heard."""
    params = ranker_params(
        learning_rate=1e-2, loss=loss, lora={"steps": 40, "check_every": 10, "rank": 8,
                                             "batch_takes": 20},
    )  # fmt: skip
    fold = fold_of(toy, params)
    learned = predict(fold, params)
    frozen = predict(fold, ranker_params(learning_rate=1e-12, lora={"steps": 1}))
    assert share_right(frozen, fold, toy[1]) < 0.75
    assert share_right(learned, fold, toy[1]) > 0.82
    assert learned.validation > frozen.validation + 0.2
    assert learned.selection["frozen_accuracy"] == frozen.selection["accuracy"]
    assert learned.selection["step"][0] >= 10
    assert learned.codes["shared"].shape == (len(fold.test), min(8, 2 * 2))


def test_where_nothing_is_gained_the_ranker_is_ridge_on_the_frozen_vectors(toy: Toy) -> None:
    """Against scikit-learn's ridge on takes less the mean of their segment."""
    params = ranker_params(learning_rate=1e-12, lambdas=[30.0])
    fold = fold_of(toy, params)
    found = predict(fold, params)
    assert found.selection["step"] == [0.0]
    assert fold.validation is not None
    fit = fold.train[fold.validation[0]]
    vectors = frozen_vectors(fold)
    spread = vectors[fit].std(axis=0)
    heard = spread > 1e-6 * np.abs(vectors[fit]).max(axis=0)
    assert heard.sum() == 2 * 2
    assert vectors.shape[1] == 2 * DIM
    z = (vectors - vectors[fit].mean(axis=0))[:, heard] / spread[heard]
    segments = fold.segment[fit]
    means = {code: z[fit][segments == code].mean(axis=0) for code in set(segments)}
    middle = {code: toy[1][fit][segments == code].mean() for code in set(segments)}
    own = np.array([z[row] - means[fold.segment[row]] for row in fit])
    labels = np.array([toy[1][row, 0] - middle[fold.segment[row]] for row in fit])
    weights = Ridge(alpha=30.0, fit_intercept=False).fit(own, labels).coef_
    wanted = (z[fold.pairs[:, 0]] - z[fold.pairs[:, 1]]) @ weights
    ratio = found.margins[:, 0] / wanted
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)  # log-odds, or the sign
    assert ratio.mean() > 0


def test_repetition_gives_the_same_bytes_and_both_orders_add_up(toy: Toy) -> None:
    params = ranker_params(learning_rate=1e-2, n_seeds=2)
    fold = fold_of(toy, params)
    fold = replace(fold, pairs=np.concatenate([fold.pairs, fold.pairs[:, ::-1]]))
    found, again = predict(fold, params), predict(fold, params)
    assert found.margins.tobytes() == again.margins.tobytes()
    assert found.codes["shared"].tobytes() == again.codes["shared"].tobytes()
    assert found.selection == again.selection
    assert len(found.selection["step"]) == 2
    one, other = np.split(found.margins, 2)
    np.testing.assert_array_equal(one, -other)


def test_nothing_is_learned_from_takes_that_are_reported(toy: Toy) -> None:
    """Other takes reported, of which one is left: choices and its scores stay as they are."""
    params = ranker_params(learning_rate=1e-2, lora={"steps": 6})
    fold = fold_of(toy, params)
    fewer = replace(fold, test=fold.test[:2], pairs=fold.pairs[:1])
    a, b = predict(fold, params), predict(fewer, params)
    assert a.selection == b.selection
    assert a.validation == b.validation
    np.testing.assert_allclose(a.margins[:1], b.margins, rtol=1e-4)


def test_points_and_folds_do_not_touch_one_another(toy: Toy) -> None:
    points = [ranker_params(learning_rate=rate) for rate in (1e-2, 1e-3)]
    fold = fold_of(toy, points[0])
    other = replace(fold, name="toy/1", y=-fold.y)
    together = predict_lora([fold, other], points, RunParams())
    assert [len(one) for one in together] == [2, 2]
    alone = predict(other, points[1])
    np.testing.assert_array_equal(together[1][1].margins, alone.margins)


def test_pooled_vectors_are_those_of_the_embedded_clip(toy: Toy) -> None:
    """Clips of 0.3 to 0.7 s in chunks of 0.4 s, one by one."""
    fold = fold_of(toy, ranker_params())
    audio = fold.audio
    assert audio is not None
    encoder = create_encoder(audio.encoder, "tiny")
    rows = np.array([3, 0, 17])
    assert {len(audio.samples(row)) > audio.spec.chunk_samples for row in range(20)} == {
        True,
        False,
    }
    for row, found in zip(rows, audio.pooled(encoder, rows, 2), strict=True):
        parts = [
            part for _, part in encode_clip(toy[0].frames(toy[0].clips[row])[:, 0, 0], encoder)
        ]
        frames = np.concatenate(parts).reshape(-1, DIM).astype(np.float64)
        wanted = np.concatenate([frames.mean(axis=0), frames.std(axis=0)])
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_a_crop_lies_where_it_is_asked_for(toy: Toy) -> None:
    audio = fold_of(toy, ranker_params()).audio
    assert audio is not None
    size = audio.spec.chunk_samples
    row = next(row for row in range(20) if len(audio.samples(row)) > size + 100)
    whole = audio.samples(row).astype(np.float32) / 32768
    np.testing.assert_array_equal(audio.crop(row, 0.0), whole[:size])
    np.testing.assert_array_equal(audio.crop(row, 1.0), whole[-size:])
    middle = round(0.5 * (len(whole) - size))
    np.testing.assert_array_equal(audio.crop(row, 0.5), whole[middle : middle + size])
    short = next(row for row in range(20) if len(audio.samples(row)) < size)
    assert len(audio.crop(short, 0.7)) == len(audio.samples(short))


@settings(deadline=None, max_examples=20)
@given(size=st.integers(2, 25), seed=st.integers(0, 3))
def test_batches_hold_whole_pairs_and_pass_over_every_segment(
    toy: Toy, size: int, seed: int
) -> None:
    params = ranker_params()
    fold = fold_of(toy, params)
    assert fold.validation is not None
    fit = fold.validation[0]
    batches = Batches(fold, fit, params, size, seed)
    every = training_pairs(fold, fit, params.pairs)
    heard: set[int] = set()
    while len(heard) < len(np.unique(fold.segment[fold.train[fit]])):
        batch = batches.draw()
        assert 2 <= len(batch.rows) <= max(size, 2)
        assert len(set(batch.rows)) == len(batch.rows)
        assert set(batch.rows) <= set(fold.train[fit])
        segments = fold.segment[batch.rows]
        assert not heard & set(segments)
        heard |= set(segments)
        for code in set(segments):
            assert len(set(batch.places[segments == code])) == 1
        counts = np.unique(segments, return_counts=True)[1]
        assert len(batch.first) == sum(n * (n - 1) // 2 for n in counts)
        assert (segments[batch.first] == segments[batch.second]).all()
        first, second = batch.rows[batch.first], batch.rows[batch.second]
        known = {(fold.train[a], fold.train[b]): t for a, b, t in
                 zip(every.first, every.second, every.target, strict=True)}  # fmt: skip
        assert all(known[a, b] == t for a, b, t in zip(first, second, batch.target, strict=True))


def test_lengths_are_grouped() -> None:
    assert [part.tolist() for part in by_length([5, 3, 5, 4])] == [[1], [3], [0, 2]]


def test_a_start_chooses_its_penalty_on_validation_pairs(toy: Toy) -> None:
    params = ranker_params(lambdas=[1.0, 1e9])
    fold = fold_of(toy, params)
    vectors = frozen_vectors(fold)
    start = frozen_start(fold, vectors, params)
    single = [
        frozen_start(fold, vectors, ranker_params(lambdas=[penalty])).accuracy
        for penalty in (1.0, 1e9)
    ]
    assert start.accuracy == max(single)
    assert start.penalty == (1.0, 1e9)[int(np.argmax(single))]


# What is refused -------------------------------------------------------------------------------


def test_no_gpu_is_said_before_anything_is_read(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    params = ranker_params(lora={"device": "cuda"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="GPU") as caught:
        predict(fold_of(toy, params), params)
    assert "device: cpu" in str(caught.value)


@pytest.mark.parametrize("change", [{"audio": None}, {"validation": None}])
def test_a_fold_without_audio_or_validation_is_refused(toy: Toy, change: dict[str, Any]) -> None:
    params = ranker_params()
    with pytest.raises(ConfigError, match=r"no audio|no validation"):
        predict(replace(fold_of(toy, params), **change), params)


def test_divergence_is_an_error(toy: Toy) -> None:
    params = ranker_params(learning_rate=1e25, lora={"steps": 6})
    with pytest.raises(PianoevalError, match="diverged in fold toy/0"):
        predict(fold_of(toy, params), params)


def test_parameters_must_fit() -> None:
    assert LoraParams(encoder="a", instrument="b").device == "cuda"
    with pytest.raises(ValueError, match="needs a block 'lora'"):
        RankerParams(views=["v"], approach="lora")
    with pytest.raises(ValueError, match="needs a block 'lora'"):
        RankerParams(views=["v"], sweep={"approach": ["siamese", "lora"]})
    with pytest.raises(ValueError, match="allowed: logistic, margin"):
        ranker_params(loss="listnet")
    with pytest.raises(ValueError, match="allowed: logistic, margin"):
        ranker_params(sweep={"loss": ["margin", "listnet"]})
    assert set(ranker_params(sweep={"loss": ["margin", "logistic"]}).points()) == {
        "loss=margin", "loss=logistic",
    }  # fmt: skip


def test_other_rankers_are_written_as_if_there_were_no_adapters() -> None:
    assert "lora" not in RankerParams(views=["v"]).model_dump()
    assert ranker_params().model_dump()["lora"]["rank"] == 4
