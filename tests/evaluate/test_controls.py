"""Controls exchange labels as they say, whatever the order of rows, and parts are nested."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.evaluate.protocol.controls import (
    CONTROLS,
    base_view,
    control_of,
    curve_view,
    fraction_of,
    label_sources,
    part_of_training,
    relabel,
)
from pianoeval.evaluate.protocol.groups import CannotCutError

QUICK = settings(max_examples=25, deadline=None)  # deadlines mean nothing on a shared machine
UNITS = ("movement", "content_group", "segment")


@st.composite
def manifests(draw: st.DrawFn) -> pd.DataFrame:
    """Up to five movements of one to six segments; takes with up to two versions."""
    rows: list[dict[str, object]] = []
    for movement in range(draw(st.integers(1, 5))):
        for segment in range(draw(st.integers(1, 6))):
            for take in range(draw(st.integers(1, 4))):
                name = f"m{movement}_s{segment}_t{take}"
                for version in range(draw(st.integers(1, 2))):
                    parent = f"{name}_v0" if version else None
                    rows.append(
                        {
                            "clip": f"{name}_v{version}", "parent": parent,
                            "sha256": f"{name}_v{version}", "is_score_render": False,
                            "composition": "c", "movement": f"m{movement}",
                            "segment": f"m{movement}_s{segment}",
                            "content_group": f"m{movement}_g{segment // 2}", "player": f"p{take}",
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def unit_of(table: pd.DataFrame) -> str | None:
    return next((unit for unit in UNITS if table[unit].nunique() > 1), None)


@QUICK
@given(manifests(), st.sampled_from(CONTROLS), st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(table: pd.DataFrame, control: str, seed: int) -> None:
    assume(unit_of(table) is not None)
    clips = table["clip"].tolist()
    sources = label_sources(table, clips, control, seed)
    mixed = np.random.default_rng(seed).permutation(len(clips))
    there = label_sources(table.iloc[mixed[::-1]], [clips[i] for i in mixed], control, seed)
    assert {clips[i]: clips[mixed[s]] for i, s in zip(mixed, there, strict=True)} == {
        clip: clips[s] for clip, s in zip(clips, sources, strict=True)
    }


@QUICK
@given(manifests(), st.integers(0, 99))
def test_shuffled_labels_are_a_permutation(table: pd.DataFrame, seed: int) -> None:
    sources = label_sources(table, table["clip"].tolist(), "shuffled_labels", seed)
    assert sorted(sources.tolist()) == list(range(len(table)))


def test_every_permutation_is_as_likely() -> None:
    """3,000 seeds over the 24 permutations of four clips: 125 each, standard deviation 11."""
    table = cases.manifest(1, 2, 2)
    clips = table["clip"].tolist()
    found = Counter(
        tuple(label_sources(table, clips, "shuffled_labels", seed).tolist()) for seed in range(3000)
    )
    assert set(found) == set(permutations(range(4)))
    assert min(found.values()) > 80
    assert max(found.values()) < 170


@QUICK
@given(manifests(), st.integers(0, 99))
def test_swapped_pieces_come_from_one_segment_of_another_piece(
    table: pd.DataFrame, seed: int
) -> None:
    unit = unit_of(table)
    assume(unit is not None)
    sources = label_sources(table, table["clip"].tolist(), "swapped_pieces", seed)
    taken = table.iloc[sources].reset_index(drop=True)
    assert (table[unit] != taken[unit]).all()
    partner = taken.groupby(table["segment"].to_numpy())["segment"].agg(["nunique", "first"])
    assert (partner["nunique"] == 1).all()
    segments = table.drop_duplicates("segment")
    if segments[unit].value_counts().max() <= len(segments) / 2:
        assert partner["first"].nunique() == len(segments)
        uses = taken.groupby("segment")["clip"].value_counts()
        spare = uses.groupby("segment").agg(["min", "max", "size"])
        clips_of = table["segment"].value_counts()
        for segment, row in spare.iterrows():
            assert row["max"] - row["min"] <= 1
            assert row["max"] == 1 or row["size"] == clips_of[segment]


def test_swapped_labels_tell_nothing_of_the_player() -> None:
    """Labels that are the player's alone: who plays no longer matters, over many seeds."""
    table = cases.manifest(n_movements=3, n_segments=4, n_players=4)
    clips, player = table["clip"].tolist(), table["player"].to_numpy()
    same = [
        np.mean(player == player[label_sources(table, clips, "swapped_pieces", seed)])
        for seed in range(60)
    ]
    assert np.mean(same) == pytest.approx(0.25, abs=0.03)


def test_shuffling_breaks_the_tie_to_the_degree_of_degradation() -> None:
    """Takes in five versions, labels the version's number: it must not be learnable."""
    rows = cases.manifest(2, 3, 3)
    parts = [
        rows.assign(
            clip=rows["clip"] + f"_v{v}", parent=None if v == 0 else rows["clip"] + "_v0", tier=v
        )
        for v in range(5)
    ]
    table = pd.concat(parts, ignore_index=True)
    tier = table["tier"].to_numpy(np.float64)
    taken = [
        tier[label_sources(table, table["clip"].tolist(), "shuffled_labels", seed)]
        for seed in range(100)
    ]
    assert abs(np.mean([np.corrcoef(tier, t)[0, 1] for t in taken])) < 0.03


@pytest.mark.parametrize("control", CONTROLS)
def test_clips_without_labels_take_no_part(control: str) -> None:
    table = cases.manifest()
    clips = table["clip"].tolist()
    values = np.arange(2.0 * len(clips)).reshape(-1, 2)
    values[::5] = np.nan
    values[1, 0] = np.nan  # rated in one dimension
    found = relabel(table, clips, values, control, 3)
    assert np.isnan(found[::5]).all()
    rated = [i for i in range(len(clips)) if i % 5]
    sources = label_sources(table, [clips[i] for i in rated], control, 3)
    np.testing.assert_array_equal(found[rated], values[rated][sources])
    assert np.isnan(values).sum() == 2 * len(values[::5]) + 1  # the argument is left alone


def test_one_movement_swaps_content_groups_and_one_segment_cannot() -> None:
    table = cases.manifest(n_movements=1, n_segments=4)
    clips = table["clip"].tolist()
    groups = table["content_group"].to_numpy()
    assert (groups != groups[label_sources(table, clips, "swapped_pieces", 0)]).all()
    one = cases.manifest(n_movements=1, n_segments=1)
    with pytest.raises(CannotCutError, match="share one segment"):
        label_sources(one, one["clip"].tolist(), "swapped_pieces", 0)


def test_refusals() -> None:
    table = cases.manifest()
    clips = table["clip"].tolist()
    with pytest.raises(ConfigError, match=r"unknown control 'x' \(allowed: shuffled_labels"):
        label_sources(table, clips, "x", 0)
    with pytest.raises(CorruptDataError, match="listed twice"):
        label_sources(table, [*clips, clips[0]], "shuffled_labels", 0)
    with pytest.raises(CorruptDataError, match="stranger: the manifest does not list"):
        label_sources(table, [*clips, "stranger"], "swapped_pieces", 0)


@given(st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True), st.integers(1, 99))
def test_names_are_taken_apart_as_they_were_made(view: str, percent: int) -> None:
    point = curve_view(view, percent)
    assert (base_view(point), control_of(point), fraction_of(point)) == (view, None, percent / 100)
    for control in CONTROLS:
        name = f"{view}:{control}"
        assert (base_view(name), control_of(name), fraction_of(name)) == (view, control, None)
    assert (base_view(view), control_of(view), fraction_of(view)) == (view, None, None)


@pytest.mark.parametrize("name", ["mel:train_0", "mel:train_100", "mel:train_x", "train_25"])
def test_what_is_no_point_of_a_curve(name: str) -> None:
    assert fraction_of(name) is None


@settings(QUICK, max_examples=12)
@given(manifests(), st.integers(0, 99), st.lists(st.integers(1, 99), min_size=2, max_size=4))
def test_parts_are_nested_whole_and_near_their_share(
    table: pd.DataFrame, seed: int, percents: list[int]
) -> None:
    clips = np.random.default_rng(seed).permutation(table["clip"].to_numpy(dtype=object))
    rows = table.set_index("clip").loc[list(clips)]
    take = rows["parent"].where(rows["parent"].notna(), rows.index.to_series())
    largest = take.value_counts().max()
    before = np.zeros(len(clips), bool)
    for percent in sorted(percents):
        wanted = percent / 100 * len(clips)
        try:
            part = part_of_training(table, clips, percent / 100, seed)
        except CannotCutError:
            assert 0.25 * wanted < largest  # else some whole takes come near enough
            continue
        assert abs(part.sum() - wanted) <= 0.25 * wanted
        assert (before <= part).all()
        assert (pd.Series(part).groupby(take.to_numpy()).nunique() == 1).all()
        cut = pd.Series(part).groupby(rows["content_group"].to_numpy()).nunique() > 1
        assert cut.sum() <= 1
        again = part_of_training(table.iloc[::-1], clips[::-1], percent / 100, seed)
        np.testing.assert_array_equal(again[::-1], part)
        before = part


def test_a_part_that_whole_takes_cannot_give_is_refused() -> None:
    table = cases.manifest(1, 1, 4)
    with pytest.raises(CannotCutError, match="whole takes give 1 of 4 training clips where 0 are"):
        part_of_training(table, table["clip"].to_numpy(dtype=object), 0.1, 0)
