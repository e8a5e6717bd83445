"""Disentanglement: codes that leak are found out, codes that do not are not accused."""

from __future__ import annotations

import itertools
import warnings

import disentangle_cases as known
import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    silhouette_score,
)

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.ranked import clustering, mutual_information, probes
from pianoeval.evaluate.ranked.disentangle import COLUMNS, disentanglement, prediction_codes
from pianoeval.evaluate.ranked.questions import ask, permuted_classes
from pianoeval.params_rank import RankParams

PARAMS = cases.params(rank={"permutations": 99})
FEW = cases.params(rank={"permutations": 19})


def asked(values: np.ndarray, manifest: pd.DataFrame, params=PARAMS, y=None) -> pd.DataFrame:
    found = disentanglement(
        known.table(manifest, values), manifest,
        known.labels(manifest, np.zeros((len(manifest), 1)) if y is None else y), params,
    )  # fmt: skip
    return found.set_index("measure")


def noise(manifest: pd.DataFrame, seed: int = 0, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(manifest), width))


# The probe.


def literal(z: np.ndarray, unit: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Ridge with a free intercept, fitted anew without each unit."""
    apart = ((z[:, None] - z) ** 2).sum(axis=2)
    width = np.median(apart[np.triu_indices(len(z), 1)])
    gram = np.exp(-apart / (2 * width))
    centre = np.eye(len(z)) - 1 / len(z)
    penalty = probes.RIDGE * np.trace(centre @ gram @ centre) / len(z)
    found = np.empty_like(targets)
    for one in set(unit):
        held, kept = np.flatnonzero(unit == one), np.flatnonzero(unit != one)
        k, n = gram[np.ix_(kept, kept)], len(kept)
        # Stationary points of |y - K a - b|² + λ a'Ka, with a summing to 0.
        system = np.block([[k + penalty * np.eye(n), np.ones((n, 1))], [np.ones((1, n)), 0]])
        solved = np.linalg.solve(system, np.vstack([targets[kept], np.zeros(targets.shape[1])]))
        found[held] = gram[np.ix_(held, kept)] @ solved[:-1] + solved[-1]
    return found


@pytest.mark.parametrize("units", [20, 7, 2])
def test_leaving_out_is_fitting_anew(units: int, random_state: np.random.Generator) -> None:
    z, targets = random_state.normal(size=(20, 4)), random_state.normal(size=(20, 3))
    unit = np.concatenate([np.arange(units), random_state.integers(0, units, 20 - units)])
    smoother = probes.leave_out_smoother(z, unit)
    np.testing.assert_allclose(smoother @ targets, literal(z, unit, targets), atol=1e-9)
    assert not smoother[unit[:, None] == unit].any()


def test_class_probe_against_a_slow_twin(random_state: np.random.Generator) -> None:
    z, unit = random_state.normal(size=(24, 2)), np.arange(24) // 2
    classes = random_state.integers(0, 3, (4, 24))
    classes[:, :3] = np.arange(3)
    z[:, 0] += 2 * classes[0]
    smoother = probes.leave_out_smoother(z, unit)
    accuracy, bound = probes.class_probe(smoother, classes, unit)
    for number, row in enumerate(classes):
        scores = smoother @ np.eye(3)[row]
        assert accuracy[number] == np.mean(
            [s.argmax() == c for s, c in zip(scores, row, strict=False)]
        )
        n = np.bincount(row, minlength=3)
        cost = np.empty((24, 13))
        choices = [(1, 1.0), *itertools.product((1, 2, 4), (0.3, 0.1, 0.03, 0.01))]
        for column, (power, w) in enumerate(choices):
            for take, (s, c) in enumerate(zip(scores, row, strict=True)):
                up = np.array([max(one, 0.0) ** power for one in s])
                share = up[c] / up.sum() if up.sum() else n[c] / 24
                cost[take, column] = -np.log((1 - w) * share + w * n[c] / 24)
        first = unit % 2 == 0
        paid = np.where(
            first, cost[:, cost[~first].mean(axis=0).argmin()],
            cost[:, cost[first].mean(axis=0).argmin()],
        )  # fmt: skip
        share = np.bincount(classes[0]) / 24
        assert bound[number] == pytest.approx(-(share * np.log(share)).sum() - paid.mean())


def test_the_bound_stays_below_what_there_is_to_know() -> None:
    manifest = known.corpus()
    found = asked(known.one_hot(manifest["segment"]), manifest)
    assert 0.8 * np.log(8) < found.loc["piece_information", "value"] <= np.log(8)
    assert found.loc["piece_accuracy", "value"] == 1.0


def test_labels_beyond_the_piece(random_state: np.random.Generator) -> None:
    manifest = known.corpus()
    y = random_state.normal(size=(len(manifest), 2)) + 9 * known.one_hot(manifest["segment"])[:, :2]
    row = asked(y, manifest, y=y).loc["labels_r2"]
    assert row["value"] > 0.15
    assert row["p"] == 0.01
    assert row["n_classes"] == 0
    of_piece = asked(known.one_hot(manifest["segment"]), manifest, y=y).loc["labels_r2"]
    assert of_piece["p"] > 0.05  # what a piece's labels are on the whole is no residual


# Mutual information.


def test_neighbours_agree_with_scikit_learn(random_state: np.random.Generator) -> None:
    classes = np.repeat(np.arange(4), [30, 20, 8, 2])
    x = random_state.normal(size=60) + 0.8 * classes
    found = mutual_information.neighbour_information(x[:, None], classes[None], np.arange(60))
    terms = []
    for i, c in enumerate(classes):
        apart = np.abs(x - x[i])
        n = int((classes == c).sum())
        k = min(3, n - 1)
        reach = np.sort(apart[classes == c])[k]
        terms.append(digamma(60) + digamma(k) - digamma(n) - digamma((apart < reach).sum()))
    assert found[0] == pytest.approx(np.mean(terms))
    # It compares roots of squares, so that a neighbour at the very distance counts now and then.
    wanted = mutual_info_classif(x[:, None], classes, n_neighbors=3, random_state=0)
    assert found[0] == pytest.approx(wanted[0], abs=0.01)


def test_neighbours_of_a_known_information(random_state: np.random.Generator) -> None:
    """Two classes a distance d apart: I by numerical integration."""
    classes = np.repeat([0, 1], 1000)
    x = random_state.normal(size=2000) + 2.0 * classes
    grid = np.linspace(-9, 11, 4001)
    density = [np.exp(-0.5 * (grid - m) ** 2) / np.sqrt(2 * np.pi) for m in (0, 2)]
    mixed = np.mean(density, axis=0)
    wanted = np.mean([np.trapezoid(d * np.log(d / mixed), grid) for d in density])
    found = mutual_information.neighbour_information(x[:, None], classes[None], np.arange(2000))
    assert found[0] == pytest.approx(wanted, abs=0.04)


def test_own_unit_is_no_neighbour() -> None:
    """Twins are alike and in one class, and nothing else is."""
    z = np.repeat(np.random.default_rng(0).normal(size=(200, 2)), 2, axis=0)
    classes = np.repeat(np.arange(200) % 4, 2)[None]
    alone = mutual_information.neighbour_information(z, classes, np.arange(400))[0]
    apart = mutual_information.neighbour_information(z, classes, np.arange(400) // 2)[0]
    assert alone > 0.2
    assert abs(apart) < 0.1
    assert mutual_information.neighbour_information(z[:2], np.array([[0, 1]]), np.arange(2)) == 0


# Clustering.


def test_agreement_and_silhouette_are_scikit_learns(random_state: np.random.Generator) -> None:
    z = random_state.normal(size=(30, 3))
    apart = np.sqrt(probes.squared_distances(z))
    for _ in range(5):
        one, other = random_state.integers(0, 6, (2, 30))
        one[:6], other[:6] = np.arange(6), np.arange(6)
        nmi, ari = clustering.agreement(one, other)
        assert nmi == pytest.approx(normalized_mutual_info_score(one, other))
        assert ari == pytest.approx(adjusted_rand_score(one, other))
        assert clustering.silhouette(apart, one) == pytest.approx(silhouette_score(z, one))


def test_share_between_classes_by_hand() -> None:
    z = np.array([[0.0], [2.0], [4.0], [6.0]])
    # Means 1 and 5 about 3: 16 of 20.
    assert clustering.between_share(z, np.array([0, 0, 1, 1])) == pytest.approx(0.8)
    assert clustering.between_share(np.ones((4, 2)), np.array([0, 0, 1, 1])) == 0.0


# What is permuted, and what is left out together.


@given(
    strata=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    seed=st.integers(0, 2**16),
)
def test_permutations_keep_families_and_strata(strata: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    of_family = np.array(strata)
    size = random.integers(1, 3, len(strata))
    family = np.repeat(np.arange(len(strata)), size)
    classes = random.integers(0, 3, len(strata))
    found = permuted_classes(classes[family], family, of_family[family], 5, random)
    assert (found[0] == classes[family]).all()
    for row in found:
        moved = np.array([set(row[family == one]) for one in range(len(strata))])
        assert all(len(one) == 1 for one in moved)  # versions of a take stay of one class
        first = np.array([one.pop() for one in moved])
        for stratum in set(strata):
            inside = of_family == stratum
            assert sorted(first[inside]) == sorted(classes[inside])


def test_every_permutation_is_reached() -> None:
    random = np.random.default_rng(0)
    found = permuted_classes(np.arange(3), np.arange(3), np.zeros(3, np.int64), 600, random)[1:]
    orders, count = np.unique(found, axis=0, return_counts=True)
    assert len(orders) == 6
    assert count.min() > 70


def test_units() -> None:
    """Versions, copies, and takes by one player of segments that share notes, are one unit."""
    manifest = known.corpus(4, 3)
    manifest.loc[3:5, "content_group"] = "g00"  # segments 0 and 1 share notes
    manifest.loc[8, "sha256"] = manifest.loc[11, "sha256"]
    nothing = known.labels(manifest, np.zeros((len(manifest), 1)))
    question = ask(manifest, nothing, "rating", RankParams(permutations=19), 0)[0]
    unit = question.unit
    assert question.name == "piece"
    assert len(unit) == 12
    assert (unit[:3] == unit[3:6]).all()
    assert len(set(unit[:3])) == 3
    assert unit[8] == unit[11]
    assert len(set(unit)) == 8


def test_copies_tell_nothing() -> None:
    """Random codes that byte-identical twins share would name the piece by heart."""
    manifest = known.corpus(6, 8)
    manifest["sha256"] = [f"{s}.{int(p[1:]) // 2}" for s, p in zip(
        manifest["segment"], manifest["player"], strict=True)]  # fmt: skip
    codes = np.repeat(np.random.default_rng(1).normal(size=(len(manifest) // 2, 4)), 2, axis=0)
    assert asked(codes, manifest).loc["piece_accuracy", "p"] > 0.05
    manifest["sha256"] = manifest["clip"]
    assert asked(codes, manifest).loc["piece_accuracy", "p"] == 0.01


# Whole tables.


def test_a_leak_is_found() -> None:
    manifest = known.corpus()
    codes = np.hstack([noise(manifest), known.one_hot(manifest["segment"], 3.0)])
    found = asked(codes, manifest)
    pieces = [name for name in found.index if name.startswith("piece_")]
    assert len(pieces) == 10
    assert (found.loc[pieces, "p"] == 0.01).all()
    assert (found.loc[pieces, "value"] > found.loc[pieces, "chance_high"]).all()
    assert (found.loc[pieces, "n_classes"] == 8).all()
    assert (found["n_clips"] == 48).all()
    players = ["player_accuracy", "player_information", "player_information_knn", "player_share"]
    assert (found.loc[players, "p"] > 0.01).all()


def test_what_is_not_linear_is_found() -> None:
    """Half of the takes of a piece lie on one side of 0, half on the other."""
    manifest = known.corpus(4, 20)
    random = np.random.default_rng(0)
    place = manifest["segment"].str[1:].astype(int).to_numpy() * np.pi / 4
    sign = random.choice([-1.0, 1.0], len(manifest))
    codes = sign[:, None] * np.stack([np.cos(place), np.sin(place)], axis=1)
    row = asked(codes + 0.2 * random.normal(size=codes.shape), manifest).loc["piece_accuracy"]
    assert row["value"] > 0.6
    assert row["p"] == 0.01


def test_noise_is_not_accused() -> None:
    """p is at most a in no more than a share a of codes of noise, within what 60 can show."""
    manifest = known.corpus(5, 4)
    tables = [known.table(manifest, noise(manifest, seed), ranker=f"r{seed}") for seed in range(60)]
    found = disentanglement(
        pd.concat(tables), manifest, known.labels(manifest, noise(manifest, 99, 2)), FEW
    )
    alarms = found.assign(alarm=found["p"] <= 0.1).groupby("measure")["alarm"].mean()
    assert len(alarms) == 18
    assert (alarms <= 0.1 + 3.5 * np.sqrt(0.1 * 0.9 / 60)).all()
    assert 0.03 < alarms.mean() < 0.17


@pytest.mark.parametrize(("n_pieces", "n_players"), [(2, 3), (8, 6)])
def test_centred_noise_lies_below_chance(n_pieces: int, n_players: int) -> None:
    """A bias that is told in the documentation: p of pieces says nothing of centred codes."""
    manifest = known.corpus(n_pieces, n_players)
    values = pd.DataFrame(noise(manifest))
    inside = values - values.groupby(manifest["segment"].to_numpy()).transform("mean")
    found = asked(inside.to_numpy(), manifest).loc["piece_accuracy"]
    assert found["value"] < found["chance_mean"]
    assert found["p"] > 0.45


def test_chance_level_is_that_of_the_players() -> None:
    """Where players have repertoires, whose school a player is of tells something of the piece."""
    manifest = known.corpus(8, 12, nested=True)
    codes = known.one_hot(manifest["composition"], 4.0) + 0.3 * noise(manifest, width=2)
    found = asked(codes, manifest)
    assert found.loc["piece_information", "p"] == 0.01
    assert 0.4 < found.loc["piece_information", "value"] < np.log(2)
    assert found.loc["piece_given_player_information", "p"] > 0.05
    assert found.loc["player_accuracy", "p"] > 0.05
    codes = known.one_hot(manifest["player"], 4.0) + 0.3 * noise(manifest, width=12)
    found = asked(codes, manifest)
    assert found.loc["piece_given_player_information", "p"] > 0.05
    assert found.loc["player_accuracy", ["value", "p"]].tolist() == [1.0, 0.01]
    of_piece = known.one_hot(manifest["segment"], 4.0) + 0.3 * noise(manifest, width=8)
    found = asked(of_piece, manifest)
    assert found.loc["player_information", "p"] > 0.05
    assert found.loc["player_information_knn", "p"] > 0.05
    assert found.loc["piece_given_player_accuracy", "p"] == 0.01


def test_folds_have_codes_of_their_own() -> None:
    """Another basis, origin and scale in every fold change next to nothing."""
    manifest = known.corpus(8, 6)
    fold = np.arange(len(manifest)) // 24
    codes = np.hstack([noise(manifest), known.one_hot(manifest["segment"], 1.5)])
    nothing = known.labels(manifest, np.zeros((len(manifest), 1)))
    other = codes.copy()
    other[fold == 1] = 7 - 2 * other[fold == 1][:, ::-1]
    one, two = (
        disentanglement(known.table(manifest, c, fold=fold), manifest, nothing, FEW)
        for c in (codes, other)
    )
    kept = ~one["measure"].str.contains("nmi|ari")  # k-means starts at random
    np.testing.assert_allclose(one["value"][kept], two["value"][kept], atol=1e-6)
    assert set(one.loc[one["measure"] == "piece_accuracy", "n_classes"]) == {8}


def test_the_same_again_and_alone() -> None:
    manifest = known.corpus(5, 4)
    nothing = known.labels(manifest, noise(manifest, 3, 2))
    style = known.table(manifest, noise(manifest))
    piece = known.table(manifest, known.one_hot(manifest["segment"]), branch="piece")
    both = disentanglement(pd.concat([style, piece]), manifest, nothing, FEW)
    pd.testing.assert_frame_equal(
        both, disentanglement(pd.concat([style, piece]), manifest, nothing, FEW)
    )
    alone = disentanglement(piece, manifest, nothing, FEW)
    assert tuple(both.columns) == COLUMNS
    pd.testing.assert_frame_equal(both[both["branch"] == "piece"].reset_index(drop=True), alone)


@pytest.mark.parametrize("values", [np.zeros((1, 3)), np.array([[1.0, 2.0, 3.0]])])
def test_collapsed_codes_tell_nothing(values: np.ndarray) -> None:
    manifest = known.corpus(5, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = asked(np.repeat(values, len(manifest), axis=0), manifest)
    assert np.isfinite(found["value"].astype(float)).all()
    assert (found["p"] > 0.05).all()


def test_what_cannot_be_asked_has_no_row() -> None:
    alone = known.corpus(8, 1)  # one take a piece
    assert not len(asked(noise(alone), alone))
    one_piece = known.corpus(1, 8)
    assert asked(noise(one_piece), one_piece).index.tolist() == []
    unknown = known.corpus(6, 4).assign(player="unknown")
    found = asked(noise(unknown), unknown)
    assert "piece_accuracy" in found.index
    assert not any("player" in name for name in found.index)


def test_rare_pieces_are_left_out_and_counted() -> None:
    manifest = known.corpus(6, 4).drop(index=[0, 1, 2]).reset_index(drop=True)
    row = asked(noise(manifest), manifest).loc["piece_accuracy"]
    assert (row["n_clips"], row["n_classes"]) == (20, 5)


def test_damaged_codes_are_refused() -> None:
    manifest = known.corpus(5, 4)
    codes = noise(manifest)
    codes[3, 1] = np.nan
    with pytest.raises(CorruptDataError, match="not finite"):
        asked(codes, manifest)
    other = known.table(manifest, noise(manifest)).assign(clip="elsewhere")
    with pytest.raises(CorruptDataError, match="does not list"):
        disentanglement(other, manifest, known.labels(manifest, codes), FEW)


def test_shorter_codes_end_in_nothing() -> None:
    manifest = known.corpus(5, 4)
    nothing = known.labels(manifest, np.zeros((len(manifest), 1)))
    short = known.table(manifest, noise(manifest, width=3))
    long = known.table(manifest, noise(manifest, 1, 6), ranker="long")
    both = disentanglement(pd.concat([short, long]), manifest, nothing, FEW)
    pd.testing.assert_frame_equal(
        both[both["ranker"] == "r"].reset_index(drop=True),
        disentanglement(short, manifest, nothing, FEW),
    )


def test_predictions_as_codes() -> None:
    rows = [
        {"clip": clip, "scheme": scheme, "fold": 0, "model": "ridge", "seed": seed,
         "dimension": d, "prediction": value + seed, "features": "mel"}
        for clip in ("a", "b", "other") for scheme in ("movement", "segment") for seed in (0, 2)
        for d, value in (("x", 1.0), ("y", 2.0))
    ]  # fmt: skip
    found = prediction_codes(pd.DataFrame(rows), ["a", "b"], ["movement"])
    assert found["clip"].tolist() == ["a", "b"]
    assert set(found["ranker"]) == {"mel/ridge"}
    assert found[["v000", "v001"]].to_numpy().tolist() == [[2.0, 3.0]] * 2
    assert set(found["branch"]) == {"prediction"}
