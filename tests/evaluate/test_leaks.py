"""The audit measures what two sides share, and stops whatever a scheme does not declare."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import corpora_cases
import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.protocol import overlaps
from pianoeval.evaluate.protocol.duplicates import Notes, group_notes
from pianoeval.evaluate.protocol.groups import group_labels
from pianoeval.evaluate.protocol.inner import Divisions
from pianoeval.evaluate.protocol.leaks import (
    LEAK_COLUMNS,
    LeakError,
    as_mapping,
    audit,
    overlap_matrix,
    parts_mapping,
)
from pianoeval.evaluate.protocol.overlaps import Selection
from pianoeval.evaluate.protocol.splits import SCHEMES, inner_declared, make_folds, train_test
from pianoeval.params import FoldParams

PARAMS = FoldParams(schemes=list(SCHEMES))
PROBE = cases.params().probe
NO_LABELS = cases.labels(cases.manifest()).iloc[:0]
SELECTION = Selection(PROBE, NO_LABELS)


def notes_of(manifest: pd.DataFrame) -> Notes:
    return group_notes(manifest, corpora_cases.performances(manifest), {})


def cut(manifest: pd.DataFrame, *schemes: str) -> pd.DataFrame:
    return make_folds(manifest, FoldParams(schemes=list(schemes)))


def test_declared_overlaps_pass_and_are_measured() -> None:
    manifest = cases.manifest()
    found = as_mapping(audit(make_folds(manifest, PARAMS), manifest))
    assert found["segment"]["segment"] == 0
    assert found["segment"]["player"] == 1
    assert found["content"]["content_group"] == 0
    assert found["player"]["segment"] == 1
    assert found["movement"]["movement"] == 0
    # m0 and m1 make up one composition, m2 is alone in its own.
    assert found["movement"]["composition"] == pytest.approx(2 / 3)
    clean = ("movement", "player", "family", "sha256", "take")
    assert all(found["movement_player"][column] == 0 for column in clean)
    assert "music" not in found["content"]


# What may never stand on both sides, whatever the corpus: written out, not read from the schemes.
CLEAN = {
    "segment": {"segment", "take", "family"},
    "content": {
        "content_group", "segment", "take", "family", "sha256", "performance", "music",
    },
    "player": {"player", "take", "family", "sha256", "performance"},
    "leave_one_player_out": {"player", "take", "family", "sha256", "performance"},
    "movement": {
        "movement", "content_group", "segment", "take", "family", "sha256", "performance", "music",
    },
    "movement_player": {
        "movement", "player", "content_group", "segment", "take", "family", "sha256",
        "performance", "music",
    },
    "composition": {
        "composition", "movement", "content_group", "segment", "take", "family", "sha256",
        "performance", "music",
    },
    "random": {"take", "family"},
}  # fmt: skip


def planted_notes(manifest: pd.DataFrame) -> Notes:
    """Copies wherever files are byte-identical, music as the columns have it."""
    rows = manifest.set_index("clip")
    return Notes(rows["sha256"].astype(object), rows["content_group"].astype(object), [], {})


def naive_share(groups: dict[str, object], first: list[str], second: list[str]) -> float:
    seen = {groups[clip] for clip in first}
    known = [clip for clip in second if not pd.isna(groups[clip])]
    return sum(groups[clip] in seen for clip in known) / len(known) if known else math.nan


@settings(max_examples=25, deadline=None)
@given(corpora_cases.corpora(max_clips=25), st.sampled_from(list(SCHEMES)), st.integers(2, 5))
def test_folds_of_any_corpus_are_clean_and_shares_are_those_of_plain_sets(
    manifest: pd.DataFrame, scheme: str, n_folds: int
) -> None:
    """Every scheme, every part; the matrix against sets of names, clip by clip."""
    folds = make_folds(manifest, FoldParams(schemes=[scheme], n_folds=n_folds))
    notes = planted_notes(manifest)
    table = audit(folds, manifest, SELECTION, notes)
    assert list(table.columns) == LEAK_COLUMNS
    if folds.empty:  # a corpus that the scheme cannot cut
        assert table.empty
        return
    found = table.set_index(["part", "column"])
    assert set(found.index.get_level_values("part")) == set(overlaps.PARTS)
    for part in ("train-test", "validation-test"):
        for column in CLEAN[scheme]:
            assert not found.loc[(part, column), "overlap"] > 0
            assert not found.loc[(part, column), "declared"]
    columns = {name: dict(notes_column(manifest, notes, name)) for name in table["column"]}
    sides = [train_test(folds, manifest, scheme, n) for n in sorted(set(folds["fold"]))]
    for column, groups in columns.items():
        shares = [naive_share(groups, list(a), list(b)) for a, b in sides]
        sizes = [sum(not pd.isna(groups[clip]) for clip in b) for _, b in sides]
        row = found.loc[("train-test", column)]
        if not sum(sizes):
            assert math.isnan(row["overlap"])
            assert "have no" in row["example"]
            continue
        total = np.nansum(np.multiply(shares, sizes)) / sum(sizes)
        assert row["overlap"] == pytest.approx(total)
        assert row["worst_fold"] == pytest.approx(np.nanmax(shares))


def notes_column(manifest: pd.DataFrame, notes: Notes, column: str) -> pd.Series:
    if column in ("performance", "music"):
        return getattr(notes, column)  # type: ignore[no-any-return]
    if column in ("family", "take", "player"):
        return group_labels(manifest, column)
    return manifest.set_index("clip")[column]


@settings(max_examples=25, deadline=None)
@given(corpora_cases.corpora(max_clips=25), st.sampled_from(list(SCHEMES)))
def test_validation_lies_inside_training_and_keeps_its_own_column_together(
    manifest: pd.DataFrame, scheme: str
) -> None:
    folds = make_folds(manifest, FoldParams(schemes=[scheme]))
    for number in sorted(set(folds["fold"])):
        train, test = train_test(folds, manifest, scheme, number)
        try:
            clips, divided = SELECTION.divided(manifest, scheme, train)
        except overlaps.CannotCutError:
            continue
        assert set(clips) == set(train)
        groups = group_labels(manifest, divided.column)
        for fit, held in [*divided.inner, *filter(None, [divided.validation])]:
            assert set(clips[fit]) | set(clips[held]) == set(train)
            assert not set(clips[held]) & set(test)
            assert not set(groups[clips[fit]]) & set(groups[clips[held]])
            assert divided.column not in inner_declared(divided.column)


def test_what_the_inner_division_fell_back_to_is_shown() -> None:
    """Two movements: one is trained on, so selection keeps content groups together instead."""
    manifest = cases.manifest(n_movements=2)
    table = audit(cut(manifest, "movement"), manifest, SELECTION).set_index(["part", "column"])
    row = table.loc[("train-validation", "movement")]
    assert row["kept"] == "content_group"
    assert (row["overlap"], row["declared"]) == (1.0, True)
    assert table.loc[("train-test", "movement"), "kept"] == "movement"
    assert table.loc[("train-validation", "content_group"), "overlap"] == 0
    # Left out: a movement of one content group leaves two to choose on, the other leaves takes.
    uneven = manifest[~manifest["content_group"].eq("m1_g1")]
    table = audit(cut(uneven, "movement"), uneven, SELECTION).set_index(["part", "column"])
    kept = table.loc[("train-validation", "movement"), "kept"]
    assert set(kept.replace("(", "").replace(",", "").split()) >= {"content_group", "family"}
    assert table.loc[("train-validation", "content_group"), "declared"]
    assert not table.loc[("train-test", "content_group"), "declared"]


def test_a_training_side_that_cannot_be_divided_is_said() -> None:
    manifest = cases.manifest(n_movements=2, n_segments=1, n_players=1)
    worse = manifest.assign(clip=manifest["clip"] + "_t2", parent=manifest["clip"], tier=2)
    manifest = pd.concat([manifest, worse], ignore_index=True)
    table = audit(cut(manifest, "movement"), manifest, SELECTION).set_index(["part", "column"])
    row = table.loc[("train-validation", "movement")]
    assert math.isnan(row["overlap"])
    assert row["example"].startswith("not divided: 2 training clips of one take")


def test_unlabelled_clips_are_divided_by_nobody() -> None:
    manifest = cases.manifest()
    labels = cases.labels(manifest[manifest["player"] != "p1"])
    train = np.sort(manifest["clip"].to_numpy(dtype=object))
    clips, divided = Selection(PROBE, labels).divided(manifest, "player", train)
    assert len(clips) == 36
    assert not any("_p1_" in clip for clip in clips)
    held = np.concatenate([held for _, held in divided.inner])
    assert sorted(held) == list(range(36))


# Planted leaks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "column"),
    [
        ("content", "content_group"), ("content", "segment"), ("content", "sha256"),
        ("player", "player"), ("movement", "content_group"), ("segment", "family"),
    ],
)  # fmt: skip
def test_a_group_planted_on_both_sides_is_caught(scheme: str, column: str) -> None:
    manifest = cases.manifest()
    folds = make_folds(manifest, PARAMS)
    part = folds[folds["scheme"] == scheme]
    one = part["clip"].iloc[0]
    other = part.loc[part["fold"] != part["fold"].iloc[0], "clip"].iloc[0]
    at, source = (manifest.index[manifest["clip"] == name][0] for name in (one, other))
    if column == "family":
        columns = ["segment", "content_group", "movement", "composition", "player"]
        manifest.loc[at, columns] = manifest.loc[source, columns]
        manifest.loc[at, "parent"] = other
    elif column == "segment":
        manifest.loc[at, ["segment", "content_group"]] = manifest.loc[
            source, ["segment", "content_group"]
        ]
    else:
        manifest.loc[at, column] = manifest.loc[source, column]
    with pytest.raises(LeakError, match=f"under scheme '{scheme}'"):
        audit(part, manifest)
    matrix = overlap_matrix(part, manifest).set_index("column")
    assert matrix.loc[column, "overlap"] > 0


def caught(
    folds: pd.DataFrame, manifest: pd.DataFrame, column: str, clips: set[str], notes: Notes
) -> str:
    """The message, after checking that it names the column, two of the clips and what to do."""
    with pytest.raises(LeakError, match=f"{column} '") as error:
        audit(folds, manifest, SELECTION, notes)
    message = str(error.value)
    assert sum(clip in message.replace(",", " ").split() for clip in clips) == 2
    assert "then dvc repro" in str(error.value.next_step)
    return message


def other_players(data: st.DataObject, manifest: pd.DataFrame) -> tuple[int, int]:
    """Rows of two clips of different players."""
    one = data.draw(st.integers(0, len(manifest) - 1))
    apart = manifest.index[manifest["player"] != manifest["player"].iloc[one]]
    return one, data.draw(st.sampled_from(list(apart)))


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_the_same_file_under_another_player_is_caught(data: st.DataObject) -> None:
    """Folds that were cut before it was known; cut again, they keep the two players together."""
    manifest = cases.manifest()
    folds = cut(manifest, "leave_one_player_out")
    notes = notes_of(manifest)
    one, other = other_players(data, manifest)
    manifest.loc[one, "sha256"] = manifest.loc[other, "sha256"]
    clips = {manifest.loc[one, "clip"], manifest.loc[other, "clip"]}
    message = caught(folds, manifest, "sha256", clips, notes)
    assert "is in training and test" in message
    audit(cut(manifest, "leave_one_player_out"), manifest, SELECTION)


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_a_performance_saved_again_under_another_player_is_caught(data: st.DataObject) -> None:
    """Other bytes, shifted, softer, rounded: no column tells, the notes do."""
    manifest = cases.manifest()
    one, other = other_players(data, manifest)
    played = corpora_cases.performances(manifest)
    clips = {manifest.loc[one, "clip"], manifest.loc[other, "clip"]}
    again, source = manifest.loc[one, "clip"], manifest.loc[other, "clip"]
    played[again] = corpora_cases.saved_again(played[source], data.draw(st.floats(0, 9)))
    notes = group_notes(manifest, played, {})
    caught(cut(manifest, "leave_one_player_out"), manifest, "performance", clips, notes)
    audit(cut(manifest, "leave_one_player_out"), manifest, SELECTION)  # blind without the notes


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_one_take_under_two_names_is_caught(data: st.DataObject) -> None:
    """A take rendered twice, which folds cut before kept apart; cut again they do not."""
    manifest = cases.manifest(takes=2)
    notes = notes_of(manifest)
    folds = cut(manifest, "random")
    where = folds.set_index("clip")["fold"]
    pairs = [
        (one, other)
        for one, other in pairwise(manifest["clip"])
        if one[:-1] == other[:-1] and where[one] != where[other]
    ]
    clips = set(data.draw(st.sampled_from(pairs)))
    manifest.loc[manifest["clip"].isin(clips), "take"] = "0"
    caught(folds, manifest, "take", clips, notes)
    audit(cut(manifest, "random"), manifest, SELECTION, notes)


@settings(max_examples=5, deadline=None)
@given(st.sampled_from(["movement", "movement_player", "composition"]), st.integers(0, 1))
def test_a_content_group_in_two_movements_is_caught(scheme: str, which: int) -> None:
    manifest = cases.manifest()
    rows = manifest["content_group"] == f"m2_g{which}"
    manifest.loc[rows, "content_group"] = "m0_g0"
    clips = set(manifest.loc[manifest["content_group"] == "m0_g0", "clip"])
    message = caught(
        cut(manifest, scheme), manifest, "content_group", clips, notes_of(cases.manifest())
    )
    assert f"under scheme '{scheme}', content_group 'm0_g0'" in message
    assert "correct the column" in message


def test_the_same_notes_in_two_content_groups_are_caught() -> None:
    """The columns are clean: what is played is not."""
    manifest = cases.manifest()
    copied = manifest.assign(content_group=manifest["content_group"].replace("m2_g1", "m0_g0"))
    notes = notes_of(copied)
    clips = set(copied.loc[copied["content_group"] == "m0_g0", "clip"])
    for scheme in ("content", "movement"):
        message = caught(cut(manifest, scheme), manifest, "music", clips, notes)
        assert "play the same notes" in message
    audit(cut(manifest, "segment", "player", "random"), manifest, SELECTION, notes)


def planted(
    change: Callable[[overlaps.Clips, overlaps.Clips, Divisions], tuple[list[str], Divisions]],
    folds: pd.DataFrame,
    manifest: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nested selection that goes wrong: ``change`` gets training, test and the right divisions."""
    real = Selection.divided

    def divided(
        self: Selection, table: pd.DataFrame, scheme: str, train: overlaps.Clips
    ) -> tuple[overlaps.Clips, Divisions]:
        clips, right = real(self, table, scheme, train)
        [test] = [
            held
            for n in sorted(set(folds["fold"]))
            for learned, held in [train_test(folds, manifest, scheme, n)]
            if set(learned) == set(train)
        ]
        found, wrong = change(clips, test, right)
        return np.array(found, dtype=object), wrong

    monkeypatch.setattr(Selection, "divided", divided)


def test_a_validation_clip_from_a_test_group_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = cases.manifest()
    folds = cut(manifest, "content")

    def change(
        train: overlaps.Clips, test: overlaps.Clips, right: Divisions
    ) -> tuple[list[str], Divisions]:
        held = np.array([len(train)])  # the MLP stops on a clip of the test side
        wrong = Divisions(right.column, right.inner, (np.arange(len(train)), held))
        return [*train, test[0]], wrong

    planted(change, folds, manifest, monkeypatch)
    with pytest.raises(LeakError, match="is in validation and test") as error:
        audit(folds, manifest, SELECTION, notes_of(manifest))
    assert "(validation)" in str(error.value)
    assert "dvc repro" in str(error.value.next_step)


def test_inner_folds_by_clip_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two takes of one player would be fitted and selected on."""
    manifest = cases.manifest()
    folds = cut(manifest, "player")

    def change(
        train: overlaps.Clips, test: overlaps.Clips, right: Divisions
    ) -> tuple[list[str], Divisions]:
        half = np.arange(len(train)) % 2 == 0
        split = np.flatnonzero(half), np.flatnonzero(~half)
        return list(train), Divisions(right.column, [split], None)

    planted(change, folds, manifest, monkeypatch)
    with pytest.raises(LeakError, match="is in fitting and validation") as error:
        audit(folds, manifest, SELECTION)
    assert "player '" in str(error.value)


def test_one_content_group_over_two_movements_names_what_to_correct() -> None:
    manifest = cases.manifest()
    rows = manifest["content_group"] == "m1_g0"
    manifest.loc[rows, "content_group"] = "m0_g0"
    with pytest.raises(LeakError, match="content_group 'm0_g0'") as error:
        audit(cut(manifest, "content", "movement"), manifest)
    assert "clips m1_s0_p0_t0 (training) and m0_s0_p0_t0 (test)" in str(error.value)
    assert "correct the column movement (or piece)" in str(error.value.next_step)


# What was not checked --------------------------------------------------------------------------


def test_clips_without_midi_are_not_checked_and_never_nothing() -> None:
    manifest = cases.manifest()
    folds = cut(manifest, "content")
    played = corpora_cases.performances(manifest)
    none = group_notes(manifest, {}, dict.fromkeys(manifest["clip"], "no MIDI"))
    table = audit(folds, manifest, SELECTION, none)
    for column in ("performance", "music"):
        rows = table[table["column"] == column]
        assert rows["overlap"].isna().all()
        assert rows["worst_fold"].isna().all()
        assert set(rows["example"]) == {"100.0% of the clips not checked (no MIDI)"}
    assert as_mapping(table)["content"]["music"] is None
    assert as_mapping(table)["content"]["segment"] == 0
    silent = [clip for clip in played if "_p1_" in clip]
    for clip in silent:
        del played[clip]
    some = group_notes(manifest, played, dict.fromkeys(silent, "no MIDI"))
    table = audit(folds, manifest, None, some).set_index("column")
    assert table.loc["music", "overlap"] == 0
    assert table.loc["music", "example"] == "25.0% of the clips not checked (no MIDI)"


def test_the_summary_has_every_part() -> None:
    manifest = cases.manifest()
    table = audit(make_folds(manifest, PARAMS), manifest, SELECTION, notes_of(manifest))
    found = parts_mapping(table)
    assert list(found) == ["train-test", "train-validation", "validation-test"]
    assert found["train-test"] == as_mapping(table)
    assert list(found["validation-test"]) == list(SCHEMES)
    assert found["train-validation"]["player"]["music"] == 1
    assert found["train-validation"]["content"]["music"] == 0


def test_folds_of_another_manifest_are_refused() -> None:
    manifest = cases.manifest()
    folds = make_folds(manifest, PARAMS)
    with pytest.raises(CorruptDataError, match="the manifest lacks"):
        audit(folds, manifest.iloc[1:])
    twice = pd.concat([folds, folds.iloc[:1]])
    with pytest.raises(CorruptDataError, match="tested twice"):
        audit(twice, manifest)


def test_no_scheme_no_leak() -> None:
    one = cases.manifest(n_movements=1)
    folds = cut(one, "movement")
    assert folds.empty
    assert audit(folds, one, SELECTION, notes_of(one)).empty
