"""Copies of a performance are found in its notes, whatever the file is called and looks like."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import corpora_cases
import evaluation_cases as cases
import mido
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from pianoeval.errors import MissingAssetError
from pianoeval.evaluate.protocol.duplicates import (
    compare_content_groups,
    duplicates,
    group_notes,
    read_notes,
)
from pianoeval.midi.io import Performance, read_midi, write_midi
from pianoeval.params import MidiLimits


def played(n_notes: int, seed: int, pitches: int = 50) -> Performance:
    random = np.random.default_rng(seed)
    onset = np.sort(random.uniform(0, 0.3 * n_notes, n_notes))
    notes = zip(onset, onset + random.uniform(0.05, 0.8, n_notes), strict=True)
    return Performance.from_notes(
        [
            (a, b, int(random.integers(40, 40 + pitches)), int(random.integers(20, 110)))
            for a, b in notes
        ],
        [(0.0, 0), (1.0, 100)],
    )


def names(performances: dict[str, Performance]) -> set[tuple[str, str]]:
    return {(pair.one, pair.other) for pair in duplicates(performances)}


def foreign_midi(performance: Performance, path: Path, shift_s: float) -> None:
    """As another programme saves it: other ticks, tempo and channel, note-offs as velocity 0."""
    ticks = 480 * 90 / 60  # a second at 90 quarters a minute
    events = []
    for on, off, pitch, velocity in zip(
        performance.onset_s, performance.offset_s, performance.pitch_midi, performance.velocity,
        strict=True,
    ):  # fmt: skip
        soft = max(1, round(int(velocity) * 0.7))
        events.append((round((on + shift_s) * ticks), 1, int(pitch), soft))
        events.append((round((off + shift_s) * ticks), 0, int(pitch), 0))
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(90))])
    now = 0
    for tick, _, pitch, velocity in sorted(events):
        track.append(
            mido.Message("note_on", channel=3, note=pitch, velocity=velocity, time=tick - now)
        )
        now = tick
    mido.MidiFile(type=1, ticks_per_beat=480, tracks=[track]).save(path)


@settings(max_examples=12, deadline=None)
@given(st.integers(20, 60), st.integers(0, 1000), st.floats(0, 20))
def test_a_file_saved_by_another_programme_is_found(
    tmp_path_factory: pytest.TempPathFactory, n_notes: int, seed: int, shift_s: float
) -> None:
    # Notes of one key must not touch: what readers make of that is not the question here.
    original = played(n_notes, seed)
    original = replace(original, offset_s=original.onset_s + 0.02)
    assume(min_gap(original) > 0.03 and moments(original) >= 8)
    folder = tmp_path_factory.mktemp("midi")
    foreign_midi(original, folder / "b.mid", shift_s)
    write_midi(original, folder / "a.mid")
    found = duplicates({name: read_midi(folder / f"{name}.mid") for name in "ab"})
    assert [(pair.one, pair.other) for pair in found] == [("a", "b")]
    assert found[0].shift_s == pytest.approx(shift_s, abs=0.003)
    assert found[0].deviation_s < 0.004


def min_gap(performance: Performance) -> float:
    """Least time between two onsets of one key."""
    gaps = [
        np.diff(performance.onset_s[performance.pitch_midi == pitch]).min(initial=np.inf)
        for pitch in set(performance.pitch_midi)
    ]
    return float(min(gaps))


@given(st.integers(10, 40), st.integers(0, 1000), st.data())
def test_another_performance_of_the_same_notes_is_no_copy(
    n_notes: int, seed: int, data: st.DataObject
) -> None:
    one = played(n_notes, seed)
    at = data.draw(st.integers(0, n_notes - 1))
    later = one.onset_s.copy()
    later[at] += data.draw(st.sampled_from([-0.03, 0.03]))
    assert not names({"a": one, "b": replace(one, onset_s=later)})
    pitch = one.pitch_midi.copy()
    pitch[at] += 1
    assert not names({"a": one, "b": replace(one, pitch_midi=pitch)})
    assert names({"a": one, "b": one}) == {("a", "b")}


def agree_by_assignment(one: Performance, other: Performance, shift_s: float) -> bool:
    """Whether every note has a partner of its pitch within 10 ms (an assignment without a miss)."""
    if one.n_notes != other.n_notes:
        return False
    away = np.abs(other.onset_s[None, :] - one.onset_s[:, None] - shift_s)
    miss = (away > 0.010) | (one.pitch_midi[:, None] != other.pitch_midi[None, :])
    rows, columns = linear_sum_assignment(miss)
    return not miss[rows, columns].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(12, 25), st.integers(0, 1000), st.floats(0, 0.02), st.integers(1, 6))
def test_pairs_are_those_of_a_brute_force_search(
    n_notes: int, seed: int, jitter_s: float, pitches: int
) -> None:
    random = np.random.default_rng(seed)
    base = played(n_notes, seed, pitches)
    clips = {"c0": base, "c1": played(n_notes, seed + 1, pitches)}
    for number in range(2, 6):
        onset = base.onset_s + number + random.uniform(-jitter_s, jitter_s, n_notes)
        rows = zip(onset, onset + 0.01, base.pitch_midi, base.velocity, strict=True)
        clips[f"c{number}"] = Performance.from_notes(
            [(float(a), float(b), int(p), int(v)) for a, b, p, v in rows]
        )
    assume(min(moments(clip) for clip in clips.values()) >= 8)
    found = {(pair.one, pair.other): pair for pair in duplicates(clips)}
    for one, other in combinations(sorted(clips), 2):
        a, b = clips[one], clips[other]
        # Every shift that a pairing of notes could need, and those between them.
        near = np.linspace(-0.02, 0.02, 81) + (float(np.median(b.onset_s)) - np.median(a.onset_s))
        if (one, other) in found:
            assert agree_by_assignment(a, b, found[one, other].shift_s)
        elif a.n_notes == b.n_notes and sorted(a.pitch_midi) == sorted(b.pitch_midi):
            # No pair: at the median shift of the notes, some note has no partner.
            order_a = np.lexsort((a.onset_s, a.pitch_midi))
            order_b = np.lexsort((b.onset_s, b.pitch_midi))
            shift = float(np.median(b.onset_s[order_b] - a.onset_s[order_a]))
            assert not agree_by_assignment(a, b, shift)
        else:
            assert not any(agree_by_assignment(a, b, float(shift)) for shift in near)


def moments(performance: Performance) -> int:
    return int((np.diff(performance.onset_s) > 0.05).sum()) + 1


def test_a_few_notes_are_a_copy_only_if_nothing_differs() -> None:
    """Two people who play one chord are not one performance."""
    chord = Performance.from_notes([(0.5, 1.0, p, 60) for p in (60, 64, 67)])
    louder = Performance.from_notes([(2.5, 3.0, p, 80) for p in (60, 64, 67)])
    longer = Performance.from_notes([(2.5, 3.2, p, 60) for p in (60, 64, 67)])
    later = Performance.from_notes([(2.5, 3.0, p, 60) for p in (60, 64, 67)])
    assert not names({"a": chord, "b": louder})
    assert not names({"a": chord, "b": longer})
    assert names({"a": chord, "b": later}) == {("a", "b")}


def test_groups_are_chains_of_pairs_and_unread_clips_are_in_none() -> None:
    manifest = cases.manifest(n_movements=1, n_segments=2, n_players=3)
    clips = list(manifest["clip"])
    played_by = corpora_cases.performances(manifest)
    played_by[clips[4]] = corpora_cases.saved_again(played_by[clips[0]])
    played_by[clips[5]] = corpora_cases.saved_again(played_by[clips[4]], 3.0)
    del played_by[clips[2]]
    notes = group_notes(manifest, played_by, {clips[2]: "no MIDI"})
    assert notes.performance.tolist() == [
        clips[0], clips[1], None, clips[3], clips[0], clips[0],
    ]  # fmt: skip
    assert {(pair.one, pair.other) for pair in notes.duplicates} == set(
        combinations([clips[0], clips[4], clips[5]], 2)
    )
    assert notes.music[clips[2]] is None
    assert set(notes.music.dropna()) == {clips[0]}


def test_music_is_found_without_the_columns() -> None:
    manifest = cases.manifest()
    notes = group_notes(manifest, corpora_cases.performances(manifest), {})
    assert compare_content_groups(manifest, notes.music) == {
        "content_groups": 6, "in_the_notes": 6, "merged": 0, "split": 0,
    }  # fmt: skip
    wrong = manifest.assign(content_group=manifest["segment"])
    assert compare_content_groups(wrong, notes.music)["merged"] == 6
    assert compare_content_groups(manifest.assign(content_group="x"), notes.music)["split"] == 1


def test_a_degraded_version_is_grouped_with_its_take() -> None:
    """Its wrong notes may be other music; its take's are what is played."""
    manifest = cases.manifest(n_movements=2, n_segments=1, n_players=2)
    played_by = corpora_cases.performances(manifest)
    worse = manifest.iloc[:1].assign(clip="worse", parent=manifest["clip"].iloc[0], tier=4)
    both = pd.concat([manifest, worse], ignore_index=True)
    played_by["worse"] = played_by["m1_s0_p0_t0"]
    notes = group_notes(both, played_by, {})
    assert notes.music["worse"] == notes.music["m0_s0_p0_t0"] != notes.music["m1_s0_p0_t0"]
    # That it is a copy of another take's notes is for the performance to tell.
    assert notes.performance["worse"] == notes.performance["m1_s0_p0_t0"]


def test_files_are_read_and_what_is_not_is_named(tmp_path: Path) -> None:
    manifest = cases.manifest(n_movements=1, n_segments=1, n_players=4)
    manifest["midi_path"] = [None, "b.mid", "c.mid", "d.mid"]
    for name, seed in (("b", 1), ("c", 1)):
        write_midi(played(30, seed), tmp_path / f"{name}.mid")
    (tmp_path / "d.mid").write_bytes(b"MThd")
    notes = read_notes(manifest, tmp_path, MidiLimits())
    clips = list(manifest["clip"])
    assert notes.unchecked[clips[0]] == "no MIDI"
    assert set(notes.unchecked) == {clips[0], clips[3]}
    assert notes.performance.tolist() == [None, clips[1], clips[1], None]
    (tmp_path / "c.mid").unlink()
    with pytest.raises(MissingAssetError, match=f"MIDI of '{clips[2]}' is missing"):
        read_notes(manifest, tmp_path, MidiLimits())


def test_a_corpus_of_recordings_has_no_notes(tmp_path: Path) -> None:
    manifest = cases.manifest(n_movements=1).assign(midi_path=None)
    notes = read_notes(manifest, tmp_path, MidiLimits())
    assert notes.performance.isna().all()
    assert notes.music.isna().all()
    assert notes.duplicates == []
    assert set(notes.unchecked) == set(manifest["clip"])


def test_percepiano_holds_performances_twice(percepiano_dir: Path) -> None:
    """The last eight bars of D 960, third movement, are there as two segments.

    For five players the files are byte-identical, for seven they were cut at different times: the
    same notes with another start.
    """
    files = {
        path.stem.strip(): path
        for pattern in ("*mv3_8bars_*_37.mid", "*mv3_16bars_*_19.mid")
        for path in (percepiano_dir / "virtuoso" / "data" / "all_2rounds").glob(pattern)
    }
    found = duplicates({name: read_midi(path) for name, path in files.items()})
    players = {
        tuple(sorted(name.split("_")[-2] for name in (pair.one, pair.other))): pair
        for pair in found
    }
    assert set(players) == {(str(p), str(p)) for p in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12)}
    shifted = {int(p) for (p, _), pair in players.items() if abs(pair.shift_s) > 1e-6}
    assert shifted == {1, 2, 4, 5, 8, 9, 10}
    assert max(pair.deviation_s for pair in found) < 1e-6
