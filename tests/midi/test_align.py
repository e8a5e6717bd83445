"""Alignment: a literal twin of the warping, known matches, and what must survive disorder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import BadInputError
from pianoeval.midi import align as module
from pianoeval.midi.align import GAP_COST, align, match, warp
from pianoeval.midi.io import Performance, read_midi


def piece(rng: np.random.Generator, n_chords: int = 60) -> Performance:
    """A steady piece: a melody over one to three lower notes."""
    notes = []
    for index in range(n_chords):
        onset = 0.25 * index
        notes.append((onset, onset + 0.25, int(rng.integers(67, 85)), 64))
        for pitch in rng.choice(np.arange(40, 65), int(rng.integers(0, 4)), replace=False):
            notes.append((onset, onset + 0.25, int(pitch), 64))
    return Performance.from_notes(notes)


def play(
    score: Performance, rng: np.random.Generator, missing: float = 0.0, extra: int = 0
) -> tuple[Performance, dict[tuple[float, int], int]]:
    """Rubato, asynchrony, missing and extra notes; also where each score note went."""
    time = score.onset_s + 0.6 * np.sin(score.onset_s / 2) + 3.0
    rows = []
    for index in range(score.n_notes):
        if rng.random() >= missing:
            onset = float(time[index] + rng.normal(0, 0.008))
            rows.append((onset, onset + 0.2, int(score.pitch_midi[index]), 64))
    truth = {(onset, pitch): 0 for onset, _, pitch, _ in rows}
    for _ in range(extra):
        onset = float(rng.uniform(3, 15))
        rows.append((onset, onset + 0.2, int(rng.integers(21, 39)), 50))
    return Performance.from_notes(rows), truth


def literal_warp(score: np.ndarray, performance: np.ndarray) -> float:
    """Total cost by the textbook recursion."""
    n, m = len(score), len(performance)
    total = np.full((n, m), np.inf)
    for i in range(n):
        for j in range(m):
            both = (score[i] * performance[j]).sum()
            cost = 1 - 2 * both / (score[i].sum() + performance[j].sum())
            if i == j == 0:
                total[i, j] = cost
                continue
            ways = [
                total[i - 1, j - 1] if i and j else np.inf,
                total[i - 1, j] + GAP_COST if i else np.inf,
                total[i, j - 1] + GAP_COST if j else np.inf,
            ]
            total[i, j] = cost + min(ways)
    return float(total[-1, -1])


def path_cost(path: np.ndarray, score: np.ndarray, performance: np.ndarray) -> float:
    both = (score[path[:, 0]] * performance[path[:, 1]]).sum(axis=1)
    sizes = score[path[:, 0]].sum(axis=1) + performance[path[:, 1]].sum(axis=1)
    waits = (np.diff(path, axis=0).sum(axis=1) == 1).sum()
    return float((1 - 2 * both / sizes).sum() + GAP_COST * waits)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_warp_is_optimal(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = []
    for length in (n, m):
        table = np.zeros((length, 128), np.float32)
        table[np.arange(length), rng.integers(60, 64, length)] = 1
        table[rng.random(table.shape) < 0.01] = 1
        sides.append(table)
    path = warp(*sides)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [n - 1, m - 1]
    assert set(map(tuple, np.diff(path, axis=0))) <= {(0, 1), (1, 0), (1, 1)}
    exact = [side.astype(np.float64) for side in sides]
    assert path_cost(path, *exact) == pytest.approx(literal_warp(*exact), abs=1e-6)


def test_band_finds_the_same_path(
    random_state: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = piece(random_state, 300)
    played, _ = play(score, random_state, missing=0.03)
    full = align(score, played)
    monkeypatch.setattr(module, "MAX_CELLS", 20_000)
    banded = align(score, played)
    assert banded.score_note.tolist() == full.score_note.tolist()
    assert banded.performance_note.tolist() == full.performance_note.tolist()


def test_identity() -> None:
    score = piece(np.random.default_rng(1))
    link = align(score, score)
    assert link.score_note.tolist() == list(range(score.n_notes))
    assert link.performance_note.tolist() == list(range(score.n_notes))
    times = np.array([-1.0, 0.1, 7.0, 20.0])
    np.testing.assert_allclose(link.to_performance(times), times, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_disorder_is_survived(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = piece(rng)
    played, _ = play(score, rng, missing=0.1, extra=15)
    link = align(score, played)
    assert (score.pitch_midi[link.score_note] == played.pitch_midi[link.performance_note]).all()
    assert len(set(link.performance_note.tolist())) == len(link.performance_note)
    due = score.onset_s + 0.6 * np.sin(score.onset_s / 2) + 3.0
    error = np.abs(due[link.score_note] - played.onset_s[link.performance_note])
    assert (error < 0.05).mean() > 0.98
    kept = played.n_notes - 15
    assert len(link.score_note) >= 0.97 * kept
    centre = np.linspace(1, 14, 50)
    heard = centre + 0.6 * np.sin(centre / 2) + 3.0
    assert np.median(np.abs(link.to_performance(centre) - heard)) < 0.03


def test_repeated_notes_are_paired_in_order() -> None:
    score = Performance.from_notes([(0.5 * i, 0.5 * i + 0.4, 60, 64) for i in range(4)])
    played = Performance.from_notes([(on, on + 0.2, 60, 64) for on in (0.0, 0.52, 1.55)])
    left, right = match(score, played, score.onset_s, 0.3)
    assert left.tolist() == [0, 1, 3]
    assert right.tolist() == [0, 1, 2]


def test_nothing_in_common() -> None:
    score = Performance.from_notes([(0.0, 1.0, 60, 64), (1.0, 2.0, 62, 64)])
    played = Performance.from_notes([(0.0, 1.0, 70, 64)])
    link = align(score, played)
    assert len(link.score_note) == 0
    assert np.isfinite(link.to_performance(score.onset_s)).all()


def test_no_notes_is_an_error(scale: Performance) -> None:
    empty = Performance.from_notes([])
    with pytest.raises(BadInputError, match="score has no notes"):
        align(empty, scale)
    with pytest.raises(BadInputError, match="performance has no notes"):
        align(scale, empty)


def test_percepiano_matches(percepiano_dir) -> None:  # type: ignore[no-untyped-def]
    folder = percepiano_dir / "virtuoso" / "data"
    score = read_midi(folder / "score_midi" / "Schubert_D960_mv3_8bars_Score_05.mid")
    played = read_midi(folder / "all_2rounds" / "Schubert_D960_mv3_8bars_3_05.mid")
    link = align(score, played)
    assert len(link.score_note) >= 0.95 * score.n_notes
    assert len(link.performance_note) >= 0.95 * played.n_notes
