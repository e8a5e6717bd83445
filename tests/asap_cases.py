"""A data set that looks like ASAP and whose every note is known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from pianoeval.midi.io import Performance, write_midi

BEATS_A_BAR = 4
N_BARS = 40
PEDAL_S = 1.0


def score_notes(seed: int, n_bars: int = N_BARS) -> list[tuple[float, float, int, int]]:
    """Two notes a beat in beats: onset, end, pitch, velocity."""
    rng = np.random.default_rng(seed)
    notes = []
    for beat in range(n_bars * BEATS_A_BAR):
        low, high = int(rng.integers(36, 60)), int(rng.integers(61, 85))
        notes += [(float(beat), beat + 0.9, low, 60), (beat + 0.5, beat + 0.95, high, 70)]
    return notes


def beat_times(tempo: float, seed: int | None, n_beats: int) -> np.ndarray:
    """Seconds of each beat from one beat before the first bar: steady, or with rubato."""
    lengths = np.full(n_beats, 60.0 / tempo)
    if seed is not None:
        lengths *= np.exp(np.random.default_rng(seed).normal(0, 0.1, n_beats))
    return np.concatenate([[1.0], 1.0 + np.cumsum(lengths)])


def play(
    notes: list[tuple[float, float, int, int]], beats: np.ndarray, velocity: int
) -> Performance:
    """Notes at these beats; a pedal goes down at ``PEDAL_S`` and stays."""
    at = np.arange(len(beats))
    rows = [
        (float(np.interp(on, at, beats)), float(np.interp(off, at, beats)), pitch, velocity)
        for on, off, pitch, _ in notes
    ]
    return Performance.from_notes(rows, [(PEDAL_S, 100)])


def write_beats(path: Path, beats: np.ndarray) -> None:
    lines = []
    for number, time in enumerate(beats):
        kind = "db" if number % BEATS_A_BAR == 0 else "b"
        tail = ",4/4,0" if number == 0 else ""
        lines.append(
            f"{time!r}\t{time!r}\t{kind}{tail}".replace("np.float64(", "").replace(")", "")
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_asap(
    folder: Path, pieces: dict[str, list[str]], levels: dict[str, float] | None = None
) -> Path:
    """Pieces as ``composer/title``, each with the stems of its performances."""
    rows = []
    for number, (piece, stems) in enumerate(pieces.items()):
        composer, title = piece.split("/")
        home = folder / composer / title
        home.mkdir(parents=True)
        notes, n_beats = score_notes(number), N_BARS * BEATS_A_BAR
        steady = beat_times(100.0 + 7 * number, None, n_beats)
        write_midi(play(notes, steady, 64), home / "midi_score.mid")
        write_beats(home / "midi_score_annotations.txt", steady)
        for take, stem in enumerate(stems):
            beats = beat_times(90.0 + 5 * take, 100 * number + take, n_beats)
            write_midi(play(notes, beats, 50 + 10 * take), home / f"{stem}.mid")
            write_beats(home / f"{stem}_annotations.txt", beats)
            here = f"{composer}/{title}"
            rows.append(
                {
                    "composer": composer, "title": title, "folder": here, "xml_score": "",
                    "midi_score": f"{here}/midi_score.mid",
                    "midi_performance": f"{here}/{stem}.mid",
                    "performance_annotations": f"{here}/{stem}_annotations.txt",
                    "midi_score_annotations": f"{here}/midi_score_annotations.txt",
                }
            )  # fmt: skip
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if levels is not None:
        text = "composer,title,henle\n"
        text += "".join(f"{p.replace('/', ',')},{level:g}\n" for p, level in levels.items())
        (folder / "levels.csv").write_text(text, encoding="utf-8")
    return folder
