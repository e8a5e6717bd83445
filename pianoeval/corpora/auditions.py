"""Corpus ``auditions``: simulated students of three wind instruments before a simulated judge.

An open counterpart of the auditions of the Florida Bandmasters Association that Seshadri & Lerch
(ISMIR 2021) use and that are not public: as many recordings of alto saxophone, clarinet and flute
(Table 1), about 30 s (middle school) or 50 s (symphonic band) each, rated by one judge for
musicality, note accuracy and rhythm accuracy. Tunes are real (``auditions_tunes``); students,
performances and ratings are not. docs/auditions.md says what cannot be concluded from it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.corpora.auditions_play import FAULTS, Exercise, deadpan, play
from pianoeval.corpora.auditions_students import (
    CRITERIA,
    POLES,
    YEARS,
    Audition,
    counts,
    draw_auditions,
)
from pianoeval.corpora.auditions_tunes import Melody, Tune, all_tunes, read_tune
from pianoeval.corpora.content_groups import content_groups
from pianoeval.corpora.manifest import MANIFEST_COLUMNS, write_labels, write_manifest
from pianoeval.errors import ConfigError
from pianoeval.midi.io import write_midi
from pianoeval.midi.perform import seeded
from pianoeval.midi.windline import plain_notes
from pianoeval.midi.winds import write_winds
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.provenance import sha256_file
from pianoeval.tablefile import write_table

log = logging.getLogger(__name__)

VERSION = "1"
TRUTH = "truth.parquet"
LENGTH_S = {"middle": 30.0, "symphonic": 50.0}
SET_SHARE = 0.92  # of that, as written: pauses, repetitions and a slow last bar are added
NOTES_PER_S = {"middle": 3.6, "symphonic": 5.4}  # at the set tempo
TEMPO_SPREAD = 0.1  # of single exercises, either way


@dataclass(frozen=True)
class Wind:
    """An instrument: program of General MIDI from 0, and its usual sounding ranges by level."""

    program: int
    ranges: dict[str, tuple[int, int]]


WINDS = {
    "alto_saxophone": Wind(65, {"middle": (50, 77), "symphonic": (49, 80)}),
    "clarinet": Wind(71, {"middle": (50, 79), "symphonic": (50, 87)}),
    "flute": Wind(73, {"middle": (60, 86), "symphonic": (60, 93)}),
}


@dataclass(frozen=True, eq=False)
class Part:
    """An exercise set for one instrument in one year."""

    name: str
    tune: Tune
    melody: Melody
    exercise: Exercise


def ingest(params: CorpusParams, name: str, out: Path, limits: MidiLimits) -> None:
    """Write ``out``/manifest, labels, ratings and truth (.parquet), midi/ and score/ (deadpan).

    Raises
    ------
    ConfigError
        More exercises than there are tunes, or auditions longer than ``limits`` allow.
    CorruptDataError, MissingAssetError
        A tune that is not the one the table was made for.
    """
    if 2 * LENGTH_S[params.level] > limits.max_duration_s:
        raise ConfigError(
            f"auditions may last {2 * LENGTH_S[params.level]:g} s", where=name,
            allowed=f"midi.max_duration_s of as much, not {limits.max_duration_s:g}",
            next_step="raise midi.max_duration_s in params.yaml",
        )  # fmt: skip
    parts = set_exercises(params)
    flat = [part for cell in parts.values() for part in cell]
    groups = content_groups({part.name: part.melody.pitch_midi for part in flat})
    for part in flat:
        write_midi(plain_notes(deadpan(part.exercise)), out / "score" / f"{part.name}.mid")
    rows: list[dict[str, Any]] = []
    auditions = draw_auditions(params.level, params.scale, params.reliability, params.seed)
    clips = [f"{audition.player}_{audition.year}" for audition in auditions]
    for clip, audition in zip(clips, auditions, strict=True):
        choice = parts[audition.instrument, audition.year]
        number = seeded(params.seed, "exercise", params.level, clip).integers(len(choice))
        part = choice[int(number)]
        path = out / "midi" / f"{clip}.mid"
        played = play(part.exercise, audition.faults, _draw(params, clip))
        write_winds(played, path)
        rows.append(
            _row(part, audition, name, clip, groups[part.name])
            | {
                "midi_path": path.relative_to(out.parent).as_posix(),
                "score_path": f"{out.name}/score/{part.name}.mid",
                "end_s": played.end_s,
                "sha256": sha256_file(path),
            }
        )
    write_manifest(pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS)), out / "manifest.parquet")
    _write_ratings(clips, auditions, out)
    log.info("auditions: %d students, %d auditions of %d tunes",
             len({a.player for a in auditions}), len(rows), len(flat))  # fmt: skip


def _draw(params: CorpusParams, clip: str) -> Any:
    return lambda what: seeded(params.seed, "audition", params.level, clip, what)


def set_exercises(params: CorpusParams) -> dict[tuple[str, int], list[Part]]:
    """``exercises`` tunes for each instrument and year; no tune is set twice in a corpus.

    Middle school plays from the half of the tunes that leaps less, symphonic band from the other.

    Raises
    ------
    ConfigError
        There are not as many tunes that lie within an instrument's range.
    """
    free = level_tunes(params.level, params.seed)
    found: dict[tuple[str, int], list[Part]] = {}
    for instrument, year in counts(params.level, params.scale):
        low, high = WINDS[instrument].ranges[params.level]
        fitting = [tune for tune in free if tune.span <= high - low][: params.exercises]
        if len(fitting) < params.exercises:
            raise ConfigError(
                f"no {params.exercises} more tunes for {instrument} {year}",
                allowed=f"about {len(all_tunes()) // (2 * len(YEARS) * len(WINDS))} a year and "
                "instrument",
                next_step="lower exercises of the corpus in params.yaml",
            )  # fmt: skip
        chosen = {tune.file for tune in fitting}
        free = [tune for tune in free if tune.file not in chosen]
        found[instrument, year] = [
            _set(tune, instrument, year, params) for tune in sorted(fitting, key=lambda t: t.file)
        ]
    return found


def level_tunes(level: str, seed: int) -> list[Tune]:
    """Usable tunes of a level in the order in which they are drawn."""
    usable = sorted((t for t in all_tunes() if not t.fault), key=lambda t: (t.leap, t.file))
    half = len(usable) // 2
    tunes = usable[:half] if level == "middle" else usable[half:]
    order = seeded(seed, "tunes", level).permutation(len(tunes))
    return [tunes[index] for index in order]


def _set(tune: Tune, instrument: str, year: int, params: CorpusParams) -> Part:
    name = f"{instrument}_{year}_{tune.name}"
    melody = read_tune(tune)
    rng = seeded(params.seed, "tempo", params.level, name)
    pace = NOTES_PER_S[params.level] * rng.uniform(1.0 - TEMPO_SPREAD, 1.0 + TEMPO_SPREAD)
    return Part(name, tune, melody, cut(melody, instrument, params.level, pace))


def cut(melody: Melody, instrument: str, level: str, notes_per_s: float) -> Exercise:
    """The first whole bars of a melody, transposed into the middle of an instrument's range.

    A tune that is over too soon begins again; the last bar is the one that ends nearest to the
    level's length.
    """
    beat_s = len(melody.pitch_midi) / melody.beats / notes_per_s
    wanted_s = SET_SHARE * LENGTH_S[level]
    times = 1 + int(wanted_s / (melody.beats * beat_s))
    turns = np.arange(times)[:, None] * melody.beats
    onset = (turns + melody.onset_beats).ravel()
    bars = np.append((turns + melody.bar_beats[:-1]).ravel(), times * melody.beats)
    last = int(np.abs(bars * beat_s - wanted_s).argmin())
    kept = onset < bars[last] - 1e-6
    onset, first = onset[kept], float(onset[0])
    held = np.minimum(np.tile(melody.duration_beats, times)[kept], bars[last] - onset)
    low, high = WINDS[instrument].ranges[level]
    middle = (int(melody.pitch_midi.min()) + int(melody.pitch_midi.max())) / 2
    pitch = np.tile(melody.pitch_midi, times)[kept] + round((low + high) / 2 - middle)
    return Exercise(
        (onset - first) * beat_s, held * beat_s, pitch.astype(np.int16),
        np.unique((bars[: last + 1] - first).clip(0.0)) * beat_s, WINDS[instrument].program,
    )  # fmt: skip


def _row(part: Part, audition: Audition, corpus: str, clip: str, group: str) -> dict[str, Any]:
    """Manifest columns that do not depend on the written file."""
    return {
        "clip": clip,
        "corpus": corpus,
        "corpus_version": VERSION,
        "licence": "none stated; tunes published in 1883",
        "redistributable": False,
        "audio_path": None,
        "start_s": 0.0,
        "source": "synthetic",
        "composer": None,
        "composition": part.tune.name,
        "movement": part.tune.name,
        "segment": part.name,
        "content_group": group,
        "instrument": audition.instrument,
        "player": audition.player,
        "is_score_render": False,
        "take": "1",
        "parent": None,
        "tier": 0,
    }


def _write_ratings(clips: list[str], auditions: list[Audition], out: Path) -> None:
    """Labels (task rating), the judges behind them, and the truth behind both."""
    labels, ratings, truth = [], [], []
    for clip, audition in zip(clips, auditions, strict=True):
        known: dict[str, Any] = {"clip": clip, "year": audition.year}
        judge = f"judge_{audition.instrument}_{audition.year}"
        for criterion, true, value in zip(CRITERIA, audition.truth, audition.rating, strict=True):
            low, high = POLES[criterion]
            labels.append({
                "clip": clip, "task": "rating", "dimension": criterion, "value": value,
                "n_raters": 1, "sd": None, "low_pole": low, "high_pole": high,
                "higher_is_better": True,
            })  # fmt: skip
            ratings.append({"clip": clip, "rater": judge, "dimension": criterion, "value": value})
            known[criterion] = true
        truth.append(known | {fault: getattr(audition.faults, fault) for fault in FAULTS})
    write_labels(pd.DataFrame(labels), out / "labels.parquet")
    write_table(pd.DataFrame(ratings), out / "ratings.parquet")
    write_table(pd.DataFrame(truth), out / TRUTH)


def expected_size(params: CorpusParams) -> tuple[int, float]:
    """Auditions and seconds of audio, before they are drawn."""
    clips = sum(counts(params.level, params.scale).values())
    return clips, clips * (LENGTH_S[params.level] + 1.0)
