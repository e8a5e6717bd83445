"""Training of contrastive and siamese rankers: alone as together, honest, repeatable, right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from rank_toys import accuracy, small, toy_fold, truth_of, with_frames

from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.params import RunParams
from pianoeval.params_rank import PairParams, RankerParams
from pianoeval.rankers import trainer
from pianoeval.rankers.base import RankFold, RankPrediction
from pianoeval.rankers.contrastive import Contrastive
from pianoeval.rankers.networks import Weights
from pianoeval.rankers.outcome import pooled_slope
from pianoeval.rankers.pairs import training_pairs
from pianoeval.rankers.registry import RANKERS
from pianoeval.rankers.sampling import Batch
from pianoeval.rankers.siamese import make_siamese

SIAMESE: dict[str, Any] = {"approach": "siamese"}
CASES: list[dict[str, Any]] = [
    {"approach": "contrastive"},
    {"approach": "contrastive", "loss": "margin", "contrast": "supcon", "positives": "labels"},
    {"approach": "contrastive", "loss": "listmle", "contrast": "triplet", "centre": True},
    {"approach": "contrastive", "loss": "mixed", "contrast": "none", "imbalance": "both"},
    {"approach": "contrastive", "loss": "coral", "imbalance": "lds"},
    {"approach": "contrastive", "loss": "corn"},
    {**SIAMESE, "pairs": {"curriculum": "hard", "weights": "agreement"}},
    {**SIAMESE, "comparison": "concatenation", "loss": "margin"},
    {**SIAMESE, "comparison": "bilinear"},
    {**SIAMESE, "comparison": "attention"},
]


def _name(case: dict[str, Any]) -> str:
    return "-".join(str(value) for value in case.values())


def _train(folds: Sequence[RankFold], *points: RankerParams) -> list[list[RankPrediction]]:
    return RANKERS[points[0].approach](folds, points, RunParams())


def _folds() -> list[RankFold]:
    """Of different numbers of segments, so that they differ in steps and padding."""
    return [with_frames(toy_fold(seed=s, n_test=n), s) for s, n in ((0, 6), (1, 3), (2, 4))]


def _assert_alike(one: RankPrediction, other: RankPrediction, tolerance: float) -> None:
    np.testing.assert_allclose(one.margins, other.margins, rtol=tolerance, atol=tolerance)
    assert one.codes.keys() == other.codes.keys()
    for branch, codes in one.codes.items():
        np.testing.assert_allclose(codes, other.codes[branch], rtol=tolerance, atol=tolerance)
    assert one.selection["epoch"] == other.selection["epoch"]


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_together_is_as_alone(case: dict[str, Any]) -> None:
    folds = _folds()[: 2 if case.get("comparison") == "attention" else 3]
    changes = {"sweep": {"dropout": [0.0, 0.3]}, "patience": 2, "max_epochs": 4}
    points = list(small(**case, **changes).points().values())
    together = _train(folds, *points)
    for number, point in enumerate(points):
        for place, fold in enumerate(folds):
            alone = _train([fold], point)[0][0]
            _assert_alike(together[number][place], alone, 2e-3)


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_repetition_is_byte_identical(case: dict[str, Any]) -> None:
    fold = with_frames(toy_fold())
    first, second = (_train([fold], small(**case, max_epochs=2))[0][0] for _ in range(2))
    assert first.margins.tobytes() == second.margins.tobytes()
    assert first.codes["shared"].tobytes() == second.codes["shared"].tobytes()


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_labels_of_reported_takes_are_out_of_reach(case: dict[str, Any]) -> None:
    one, other = toy_fold(), toy_fold(shift=10.0)
    found = [_train([with_frames(f)], small(**case, max_epochs=2))[0][0] for f in (one, other)]
    assert found[0].margins.tobytes() == found[1].margins.tobytes()


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_swapped_pairs_have_opposite_margins(case: dict[str, Any]) -> None:
    fold = with_frames(toy_fold())
    swapped = replace(fold, pairs=np.ascontiguousarray(fold.pairs[:, ::-1]))
    params = small(**case, max_epochs=2)
    ahead, back = (_train([one], params)[0][0].margins for one in (fold, swapped))
    assert np.abs(ahead).max() > 0
    np.testing.assert_allclose(ahead, -back, rtol=1e-4, atol=1e-5)
    if case.get("comparison", "antisymmetric") == "antisymmetric":
        assert (ahead == -back).all()


@pytest.mark.parametrize(
    "case",
    [{**c, "contrast_weight": 0.1, "weight_decay": 0.0, "centre": True} for c in CASES
     if c.get("comparison") != "attention"],
    ids=_name,
)  # fmt: skip
def test_a_known_order_is_learned(case: dict[str, Any]) -> None:
    # Ordinal losses read single labels: the level of the segment must not drown the take's.
    ordinal = case.get("loss") in ("coral", "corn")
    fold = toy_fold(n_segments=40, takes=6, n_test=8, spread=0.2 if ordinal else 1.0)
    params = small(
        **case, learning_rate=0.01, hidden=32, projection=16, batch_segments=8, max_epochs=25,
        dropout=0.0,
    )  # fmt: skip
    found = _train([fold], params)[0][0]
    assert accuracy(fold, found.margins, truth_of(fold)) > 0.85
    assert found.validation > 0.85


def test_attention_learns_a_known_order() -> None:
    fold = with_frames(toy_fold(n_segments=24, takes=5, n_test=6))
    params = small(
        **SIAMESE, comparison="attention", centre=True, learning_rate=0.01, weight_decay=0.0,
        dropout=0.0, max_epochs=8,
    )  # fmt: skip
    found = _train([fold], params)[0][0]
    assert accuracy(fold, found.margins, truth_of(fold)) > 0.75


def test_features_of_other_segments_change_no_reported_margin() -> None:
    """Of reported takes, those that are not compared with a pair's have no part in its margin."""
    fold = toy_fold()
    x = fold.x.copy()
    last = fold.segment == fold.segment.max()
    x[last] += 3
    params = small(**SIAMESE, centre=True)
    before, after = (_train([f], params)[0][0].margins for f in (fold, replace(fold, x=x)))
    of_others = ~last[fold.pairs[:, 0]]
    assert of_others.any()
    np.testing.assert_allclose(before[of_others], after[of_others], rtol=1e-5, atol=1e-6)


def test_little_memory_trains_in_turns_to_the_same_end() -> None:
    folds, params = _folds(), small(n_seeds=2)
    found = [trainer.train(Contrastive, folds, [params], memory=memory)[0] for memory in (1, 2**30)]
    for one, other in zip(*found, strict=True):
        _assert_alike(one, other, 2e-3)


def test_points_of_one_shape_are_found() -> None:
    points = [
        small(temperature=0.05), small(temperature=0.1), small(projection=4),
        small(temperature=0.05, projection=4), small(loss="mse"),
    ]  # fmt: skip
    assert trainer._of_one_shape(points) == [[0, 1], [2, 3], [4]]


def test_seeds_are_averaged_and_differ() -> None:
    fold = toy_fold()
    both = _train([fold], small(n_seeds=2))[0][0]
    ones = [_train([fold], small(seed=42 + s))[0][0] for s in (0, 1)]
    assert len(both.selection["epoch"]) == 2
    bare = [one.margins / one.selection["slope"][0] for one in (*ones, both)]
    np.testing.assert_allclose((bare[0] + bare[1]) / 2, bare[2], rtol=1e-3, atol=1e-4)
    assert not np.allclose(bare[0], bare[1], rtol=0.05)


def test_epoch_is_the_best_on_validation_pairs() -> None:
    """Trained to that epoch and no further, a ranker says the same."""
    fold, params = toy_fold(), small(learning_rate=0.01)
    found = _train([fold], params)[0][0]
    epoch = int(found.selection["epoch"][0])
    # progress is a share of max_epochs, which these parameters do not read
    again = _train([fold], params.model_copy(update={"max_epochs": epoch}))[0][0]
    assert again.margins.tobytes() == found.margins.tobytes()
    accuracies = [
        _train([fold], params.model_copy(update={"max_epochs": n}))[0][0].validation
        for n in range(1, params.max_epochs + 1)
    ]
    assert epoch == int(np.argmax(accuracies)) + 1


def test_margins_are_log_odds_of_validation_pairs() -> None:
    """At the slope that was found the likelihood of the validation pairs has its maximum."""
    fold = toy_fold(n_segments=40)
    assert fold.validation is not None
    pairs = training_pairs(fold, fold.validation[1], PairParams())
    rng = np.random.default_rng(0)
    margins = pairs.difference + rng.normal(size=pairs.difference.shape)
    slope = pooled_slope(margins, pairs)
    sign = np.where(pairs.difference > 0, 1, -1)[pairs.weight > 0]

    def cost(value: float) -> float:
        return float(np.log1p(np.exp(-value * sign * margins[pairs.weight > 0])).sum())

    assert cost(slope) < min(cost(slope * 1.05), cost(slope / 1.05))
    wrong = pooled_slope(-margins, pairs)
    assert 0 < wrong * np.sqrt(np.square(margins).mean()) < 0.02
    assert pooled_slope(np.zeros_like(margins), pairs) == 0


@pytest.mark.parametrize("loss", ["listnet", "mse", "coral"])
def test_comparisons_refuse_losses_of_scores(loss: str) -> None:
    with pytest.raises(ConfigError, match="no scores") as error:
        make_siamese(small(**SIAMESE, loss=loss))
    assert "margin or logistic" in str(error.value)


def test_attention_without_frames_says_so() -> None:
    with pytest.raises(ConfigError, match=r"pool\.sequence_hz|no frames"):
        _train([toy_fold()], small(**SIAMESE, comparison="attention"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_an_error() -> None:
    with pytest.raises(PianoevalError, match="diverged") as error:
        _train([toy_fold()], small(approach="contrastive", loss="mse", learning_rate=1e30))
    assert "learning_rate" in str(error.value)


def test_no_folds_is_no_prediction() -> None:
    assert _train([], small()) == [[]]


def test_threads_are_as_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen: list[int] = []

    class Spy(Contrastive):
        def loss(self, weights: Weights, batch: Batch) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().loss(weights, batch)

    try:
        trainer.train(Spy, [toy_fold()], [small(max_epochs=1)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


@pytest.mark.parametrize("loss", ["logistic", "margin"])
def test_pairs_that_all_weigh_nothing_are_refused(loss: str) -> None:
    """Networks would train on a loss of 0 and report what they began with."""
    with pytest.raises(ConfigError, match="differ by more than 50"):
        _train([toy_fold()], small(**SIAMESE, loss=loss, pairs={"min_difference": 50.0}))
