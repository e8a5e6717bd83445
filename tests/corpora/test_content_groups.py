"""Content groups: what shares notes, found from the notes alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.corpora import content_groups as module
from pianoeval.corpora.content_groups import (
    MIN_NOTES,
    MIN_SHARED,
    content_groups,
    natural_key,
    note_stream,
    shared_fraction,
    shared_notes,
)
from pianoeval.midi.io import Performance

pitches = st.lists(st.integers(55, 70), max_size=24)


def stream(values: list[int]) -> np.ndarray:
    return np.asarray(values, np.int16)


def literal_local_alignment(one: list[int], other: list[int]) -> int:
    """Smith and Waterman (1981), eq. 1, cell by cell."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    best = 0
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i][j] = max(
                0,
                table[i - 1][j - 1] + (1 if a == b else -1),
                table[i - 1][j] - 1,
                table[i][j - 1] - 1,
            )
            best = max(best, table[i][j])
    return best


@given(pitches, pitches)
def test_alignment_equals_its_literal_twin(one: list[int], other: list[int]) -> None:
    expected = literal_local_alignment(one, other)
    assert shared_notes(stream(one), stream(other)) == expected
    assert shared_notes(stream(other), stream(one)) == expected


@given(pitches, pitches, st.integers(1, 30))
def test_early_end_never_changes_the_verdict(one: list[int], other: list[int], need: int) -> None:
    full = shared_notes(stream(one), stream(other))
    early = shared_notes(stream(one), stream(other), need)
    assert (early >= need) == (full >= need)


# Excerpts of few tunes with errors: the wide range of lengths is of what is aligned at once.
tunes = [np.random.default_rng(seed).integers(55, 72, 80) for seed in range(4)]
excerpts = st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(1, 60), st.integers(0, 9))


def excerpt(tune: int, start: int, length: int, wrong: int) -> np.ndarray:
    notes = tunes[tune][start : start + length].copy()
    notes[np.random.default_rng(wrong).integers(0, len(notes), wrong)] += 1
    return notes.astype(np.int16)


def pair_by_pair(streams: dict[str, np.ndarray]) -> set[frozenset[str]]:
    """Connected components of the pairs that share enough, each pair aligned for itself."""
    groups = [{key} for key in streams]
    for one, other in module._candidates(list(streams.values())):
        a, b = list(streams)[one], list(streams)[other]
        shorter = min(len(streams[a]), len(streams[b]))
        enough = max(math.ceil(MIN_SHARED * shorter), min(shorter, MIN_NOTES))
        if shared_notes(streams[a], streams[b]) >= enough:
            joined = [group for group in groups if a in group or b in group]
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize(("wave", "cells"), [(1024, 1 << 16), (3, 200)])
def test_waves_of_pairs_find_the_groups_of_single_pairs(
    monkeypatch: pytest.MonkeyPatch, wave: int, cells: int
) -> None:
    monkeypatch.setattr(module, "_WAVE", wave)
    monkeypatch.setattr(module, "_CELLS", cells)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(excerpts, max_size=16))
    def check(chosen: list[tuple[int, int, int, int]]) -> None:
        streams = {f"take {i:02d}": excerpt(*one) for i, one in enumerate(chosen)}
        found: dict[str, set[str]] = {}
        for key, group in content_groups(streams).items():
            found.setdefault(group, set()).add(key)
        assert {frozenset(group) for group in found.values()} == pair_by_pair(streams)
        assert all(group == min(members) for group, members in found.items())

    check()


def test_fraction_is_of_the_shorter_stream() -> None:
    melody = list(range(40, 60))
    assert shared_fraction(stream(melody), stream([90, *melody, 91, 92])) == 1.0
    assert shared_fraction(stream([]), stream(melody)) == 0.0


def test_chords_are_read_from_low_to_high_whatever_their_spread() -> None:
    chord = [(0.00, 1.0, 64, 60), (0.02, 1.0, 48, 60), (0.05, 1.0, 60, 60), (0.5, 1.0, 50, 60)]
    assert note_stream(Performance.from_notes(chord)).tolist() == [48, 60, 64, 50]
    assert len(note_stream(Performance.from_notes([]))) == 0


def random_music(seed: int, n: int = 80) -> list[int]:
    return np.random.default_rng(seed).integers(40, 84, n).tolist()


def with_errors(notes: list[int], seed: int) -> list[int]:
    """Every tenth note wrong, every fifteenth missing."""
    generator = np.random.default_rng(seed)
    played = [int(generator.integers(40, 84)) if i % 10 == 3 else p for i, p in enumerate(notes)]
    return [p for i, p in enumerate(played) if i % 15 != 7]


def test_excerpt_and_errors_join_and_strangers_do_not() -> None:
    first, second, third = random_music(1), random_music(2), random_music(3)
    streams = {
        "8 bars a": stream(with_errors(first, 5)),
        "8 bars b": stream(second),
        "16 bars": stream(first + second),
        "stranger": stream(third),
        "stranger again": stream(with_errors(third, 6)),
    }
    groups = content_groups(streams)
    assert groups["8 bars a"] == groups["16 bars"] == groups["8 bars b"] == "8 bars a"
    assert groups["stranger"] == groups["stranger again"] == "stranger"


def test_declared_segments_join_even_without_notes() -> None:
    streams = {"a.wav": stream([]), "b": stream(random_music(1)), "c.wav": stream([])}
    groups = content_groups(streams, {"a.wav": "bar 1", "b": "bar 1"})
    assert groups == {"a.wav": "bar 1", "b": "bar 1", "c.wav": "c.wav"}


def test_misfit_stays_in_its_declared_segment() -> None:
    streams = {"x": stream(random_music(1)), "y": stream(random_music(2))}
    assert len(set(content_groups(streams, {"x": "s", "y": "s"}).values())) == 1


@pytest.mark.parametrize("notes", [[60], [60, 62, 64], list(range(60, 67))])
def test_short_streams_join_only_when_they_agree_throughout(notes: list[int]) -> None:
    other = [*notes[:-1], 99]
    groups = content_groups({"a": stream(notes), "b": stream(notes), "c": stream(other)})
    assert groups["a"] == groups["b"] != groups["c"]


@settings(max_examples=20)
@given(st.permutations(["a1", "a2", "b1", "b2", "c10", "c9"]))
def test_order_of_the_corpus_changes_nothing(keys: list[str]) -> None:
    music = {"a": random_music(1), "b": random_music(2), "c": random_music(3)}
    streams = {key: stream(with_errors(music[key[0]], int(key[1:]))) for key in keys}
    expected = {"a1": "a1", "a2": "a1", "b1": "b1", "b2": "b1", "c9": "c9", "c10": "c9"}
    assert content_groups(streams) == expected


def test_natural_order() -> None:
    assert sorted(["t10", "t9", "t", "10", "9"], key=natural_key) == ["9", "10", "t", "t9", "t10"]


def test_long_recordings_take_seconds() -> None:
    long = [random_music(seed, 3000) for seed in range(3)]
    streams = {f"{i}{take}": stream(with_errors(long[i], i)) for i in range(3) for take in "ab"}
    assert len(set(content_groups(streams).values())) == 3
