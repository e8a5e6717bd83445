from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from corpora_cases import corpora
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.protocol.groups import CannotCutError, families, group_labels
from pianoeval.evaluate.protocol.leaks import overlap_matrix
from pianoeval.evaluate.protocol.splits import (
    SCHEMES,
    cut_scheme,
    inner_folds,
    inner_groups,
    make_folds,
    skipped_schemes,
    train_test,
    wide_folds,
)
from pianoeval.params import FoldParams

ALL = FoldParams(schemes=list(SCHEMES))


@settings(max_examples=40, deadline=None)
@given(corpora(), st.sampled_from(list(SCHEMES)), st.integers(2, 6), st.integers(0, 3))
def test_no_group_on_two_sides(
    manifest: pd.DataFrame, scheme: str, n_folds: int, seed: int
) -> None:
    fold_params = FoldParams(schemes=[scheme], n_folds=n_folds, seed=seed)
    try:
        folds = cut_scheme(manifest, scheme, fold_params)
    except CannotCutError:
        assert scheme in skipped_schemes(manifest, fold_params)
        return
    assert sorted(folds["clip"]) == sorted(manifest["clip"])
    spec = SCHEMES[scheme]
    for fold in sorted(set(folds["fold"])):
        train, test = train_test(folds, manifest, scheme, fold)
        assert len(train)
        assert len(test)
        assert not set(train) & set(test)
        columns = [*spec.columns, *(["sha256"] if spec.link else [])]
        for column in columns:
            groups = (
                manifest.set_index("clip")["sha256"]
                if column == "sha256"
                else group_labels(manifest, column)
            )
            assert not set(groups[list(train)]) & set(groups[list(test)])
    if len(spec.columns) == 1:
        assert set(folds["fold"]) == set(range(folds["fold"].nunique()))
        # Nothing is dropped from training where one column is held out.
        assert len(train) + len(test) == len(manifest)


@settings(max_examples=6, deadline=None)
@given(corpora(), st.randoms(use_true_random=False))
def test_folds_do_not_depend_on_row_order(manifest: pd.DataFrame, random: object) -> None:
    shuffled = manifest.sample(frac=1.0, random_state=random.randrange(1000))  # type: ignore[attr-defined]
    pd.testing.assert_frame_equal(make_folds(manifest, ALL), make_folds(shuffled, ALL))


def test_folds_are_balanced_and_few_movements_are_left_out_one_by_one() -> None:
    manifest = cases.manifest(n_movements=3, n_segments=8, n_players=5)
    folds = make_folds(manifest, ALL)
    sizes = folds[folds["scheme"] == "content"]["fold"].value_counts()
    assert sizes.max() - sizes.min() <= 10
    assert folds[folds["scheme"] == "movement"]["fold"].nunique() == 3
    assert folds[folds["scheme"] == "leave_one_player_out"]["fold"].nunique() == 5
    many = cases.manifest(n_movements=14, n_segments=2, n_players=2)
    assert cut_scheme(many, "movement", ALL)["fold"].nunique() == ALL.n_folds


def test_movement_player_holds_out_both() -> None:
    manifest = cases.manifest()
    folds = make_folds(manifest, ALL)
    rows = manifest.set_index("clip")
    train, test = train_test(folds, manifest, "movement_player", 0)
    for column in ("movement", "player"):
        assert not set(rows.loc[list(train), column]) & set(rows.loc[list(test), column])
    assert len(train) + len(test) < len(manifest)


def test_versions_of_a_take_stay_together() -> None:
    manifest = cases.manifest()
    worse = manifest.assign(
        clip=manifest["clip"] + "+jitter", parent=manifest["clip"], tier=1,
        sha256=manifest["sha256"] + "+",
    )  # fmt: skip
    both = pd.concat([manifest, worse], ignore_index=True)
    assert families(both).nunique() == len(manifest)
    for scheme, part in make_folds(both, ALL).groupby("scheme"):
        where = part.set_index("clip")["fold"]
        assert (where[list(manifest["clip"])].to_numpy() == where[list(worse["clip"])]).all(), (
            scheme
        )


def test_versions_of_a_take_with_other_groups_are_refused() -> None:
    manifest = cases.manifest()
    worse = manifest.iloc[:1].assign(clip="x", parent=manifest["clip"].iloc[0], player="other")
    with pytest.raises(CorruptDataError, match="differ in 'player'"):
        make_folds(pd.concat([manifest, worse]), ALL)


def test_segment_in_two_content_groups_is_refused() -> None:
    manifest = cases.manifest()
    manifest.loc[0, "content_group"] = "elsewhere"
    with pytest.raises(CorruptDataError, match="two content groups"):
        make_folds(manifest, ALL)


def test_a_scheme_that_cannot_be_cut_is_skipped_with_its_reason() -> None:
    manifest = cases.manifest(n_movements=1)
    folds = make_folds(manifest, ALL)
    skipped = skipped_schemes(manifest, ALL)
    assert set(skipped) == {"movement", "movement_player", "composition"}
    assert "all clips share one movement" in skipped["movement"]
    assert not set(folds["scheme"]) & set(skipped)


def test_one_clip_to_train_on_is_no_training_side() -> None:
    """Two movements by two players: each cell leaves one clip that shares neither."""
    skipped = skipped_schemes(cases.manifest(2, 1, 2), ALL)
    assert skipped["movement_player"] == "fold 0 would leave 1 clip to train on"
    assert "movement" not in skipped


def test_unknown_is_nobodys_name() -> None:
    """Clips without a player may be of anyone, also of somebody in training."""
    manifest = cases.manifest(takes=2)
    some = manifest["player"] == "p3"
    manifest.loc[some, "player"] = "unknown"
    skipped = skipped_schemes(manifest, ALL)
    assert set(skipped) == {"player", "movement_player", "leave_one_player_out"}
    assert skipped["player"] == "24 of 96 clips have no known player"
    # Two of them in one segment, both called the first take, may be two people.
    manifest.loc[some, "take"] = "1"
    assert group_labels(manifest, "take")[manifest.loc[some, "clip"]].nunique() == 24
    assert (
        overlap_matrix(make_folds(manifest, ALL), manifest)
        .set_index(["scheme", "column"])["example"]["movement", "player"]
        .endswith("25.0% of the clips have no player")
    )


def test_identical_files_of_two_players_are_one_player() -> None:
    manifest = cases.manifest()
    manifest.loc[manifest["clip"] == "m0_s0_p1_t0", "sha256"] = "digest-m0_s0_p0_t0"
    groups = group_labels(manifest, "player", link=True)
    assert groups["m2_s2_p1_t0"] == groups["m0_s0_p0_t0"] == "p1+score"
    assert groups["m0_s0_p2_t0"] == "p2"


def test_inner_groups_follow_the_scheme_or_the_next_finer_column() -> None:
    manifest = cases.manifest(n_movements=2)
    folds = make_folds(manifest, ALL)
    train, _ = train_test(folds, manifest, "movement", 0)
    assert inner_groups(manifest, "movement", train)[0] == "content_group"
    train, _ = train_test(folds, manifest, "player", 0)
    column, groups = inner_groups(manifest, "player", train)
    assert column == "player"
    inner = inner_folds(groups, 3)
    assert len(groups) == len(train)
    for name in set(groups):
        assert len(set(inner[groups == name])) == 1
    assert set(np.unique(inner)) == {0, 1, 2}


def test_byte_identical_clips_are_never_divided_inside() -> None:
    """Selected on a file that was fitted on: as unfair inside as outside."""
    manifest = cases.manifest()
    manifest.loc[manifest["clip"] == "m0_s0_p1_t0", "sha256"] = "digest-m0_s0_p2_t0"
    clips = np.sort(manifest["clip"].to_numpy(dtype=object))
    for scheme, expected in (("player", "p1+p2"), ("segment", None)):
        groups = dict(zip(clips, inner_groups(manifest, scheme, clips)[1], strict=True))
        if expected:
            assert groups["m0_s0_p1_t0"] == groups["m2_s3_p2_t0"] == expected
        else:
            assert groups["m0_s0_p1_t0"] == "m0_s0"


def test_renders_of_one_take_are_one_take() -> None:
    manifest = cases.manifest(takes=2)
    worse = manifest.iloc[:1].assign(clip="worse", parent=manifest["clip"].iloc[0], tier=1)
    manifest = pd.concat([manifest, worse], ignore_index=True)
    assert group_labels(manifest, "take").equals(group_labels(manifest, "family").rename("take"))
    manifest.loc[manifest["clip"] == "m0_s0_p0_t1", "take"] = "0"  # a second soundfont
    takes = group_labels(manifest, "take")
    assert takes["m0_s0_p0_t1"] == takes["m0_s0_p0_t0"] == takes["worse"]
    assert takes.nunique() == group_labels(manifest, "family").nunique() - 1
    folds = cut_scheme(manifest, "random", ALL).set_index("clip")["fold"]
    assert folds["m0_s0_p0_t1"] == folds["m0_s0_p0_t0"] == folds["worse"]


@settings(max_examples=30, deadline=None)
@given(corpora(max_clips=20))
def test_takes_are_chains_of_versions_and_of_equal_numbers(manifest: pd.DataFrame) -> None:
    """Against the closure of the relation, pair by pair."""
    rows = manifest.set_index("clip")
    clips = list(rows.index)
    family = families(manifest)
    group = {clip: {clip} for clip in clips}
    for one in clips:
        for other in clips:
            a, b = rows.loc[one], rows.loc[other]
            unknown = pd.isna(a["player"]) and pd.isna(b["player"])
            same_player = a["player"] == b["player"] or (
                unknown and a["is_score_render"] and b["is_score_render"]
            )
            same = same_player and (a["segment"], a["take"]) == (b["segment"], b["take"])
            if (same or family[one] == family[other]) and group[one] is not group[other]:
                group[one] |= group[other]
                for clip in group[other]:
                    group[clip] = group[one]
    takes = group_labels(manifest, "take")
    assert {frozenset(members) for members in group.values()} == {
        frozenset(part.index) for _, part in takes.groupby(takes)
    }


def test_wide_folds_say_which_fold_tests_a_clip() -> None:
    manifest = cases.manifest(n_movements=2).sample(frac=1.0, random_state=0)
    folds = make_folds(manifest, ALL)
    half = folds[(folds["scheme"] != "player") | (folds["fold"] == 0)]
    wide = wide_folds(half, manifest)
    assert list(wide.columns) == ["clip", *dict.fromkeys(folds["scheme"])]
    assert list(wide["clip"]) == sorted(manifest["clip"])
    long = wide.melt("clip", var_name="scheme", value_name="fold").dropna()
    again = long.merge(half, on=["scheme", "clip"], suffixes=("", "_long"))
    assert len(again) == len(long) == len(half)
    assert (again["fold"] == again["fold_long"]).all()
