"""Corpus ``studio``: real scores played by simulated pianists, with labels that are known.

Scores: keyboard music out of music21's wheel (``works``), cut at bar lines. Players: rule-based
(``midi.perform``). Labels: severities of degradation, all 0 here; the degrade stage adds the
degraded versions. Nothing in it is a recording or a rating: what a model reaches on it shows
that the pipeline works, not how well it judges people.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.corpora import notation, works
from pianoeval.corpora.content_groups import content_groups, note_stream
from pianoeval.corpora.degraded import severity_labels
from pianoeval.corpora.manifest import MANIFEST_COLUMNS, write_labels, write_manifest
from pianoeval.errors import ConfigError
from pianoeval.midi.degrade import Severities
from pianoeval.midi.io import read_midi, write_midi
from pianoeval.midi.perform import perform, sample_player, seeded
from pianoeval.midi.score import ScoreNotes, deadpan
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.provenance import sha256_file

log = logging.getLogger(__name__)

VERSION = "1"
MIN_WORKS = 6


@dataclass(frozen=True)
class Segment:
    """An excerpt of a work: bars ``first`` to ``last``."""

    name: str
    work: works.Work
    score: ScoreNotes


def ingest(params: CorpusParams, name: str, out: Path, limits: MidiLimits) -> None:
    """Write ``out``/manifest.parquet, labels.parquet, midi/ (performances), score/ (deadpan).

    Raises
    ------
    ConfigError
        More segments than the works have.
    CorruptDataError, MissingAssetError
        A score that is not the one the table was made for.
    """
    segments = choose_segments(params)
    groups = segment_groups(segments)
    rows: list[dict[str, Any]] = []
    for segment in segments:
        score_path = out / "score" / f"{segment.name}.mid"
        write_midi(deadpan(segment.score), score_path)
        for number in range(1, params.n_players + 1):
            player = sample_player(f"player_{number}", params.seed)
            clip = f"{segment.name}_{player.name}"
            path = out / "midi" / f"{clip}.mid"
            rng = seeded(params.seed, "performance", clip)
            write_midi(perform(segment.score, player, rng), path)
            rows.append(
                _row(segment, name, clip, player.name, groups[segment.name])
                | {
                    "midi_path": path.relative_to(out.parent).as_posix(),
                    "score_path": score_path.relative_to(out.parent).as_posix(),
                    "end_s": read_midi(path, limits).end_s,
                    "sha256": sha256_file(path),
                }
            )
    labels = [row for clip in rows for row in severity_labels(clip["clip"], Severities(), 0)]
    write_manifest(pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS)), out / "manifest.parquet")
    write_labels(pd.DataFrame(labels), out / "labels.parquet")
    log.info("studio: %d segments, %d performances", len(segments), len(rows))


def choose_segments(params: CorpusParams) -> list[Segment]:
    """``n_segments`` excerpts in the order of the table, over about 2 works for 3 excerpts.

    Works beyond the first are drawn in turn: each gives its first start, then its second, so
    that some movements have two segments and none dominates.
    """
    n_works = min(len(works.WORKS), max(MIN_WORKS, -(-2 * params.n_segments // 3)))
    first, rest = works.WORKS[:n_works], works.WORKS[n_works:]
    picks = [*_in_turn(first), *_in_turn(rest)]
    if params.n_segments > len(picks):
        raise ConfigError(
            f"studio has no {params.n_segments} segments", allowed=f"at most {len(picks)}",
            next_step="lower n_segments of the corpus in params.yaml",
        )  # fmt: skip
    scores: dict[str, Any] = {}
    segments = []
    for work, start in picks[: params.n_segments]:
        if work.slug not in scores:
            scores[work.slug] = notation.read_score(works.score_file(work))
        segments.append(cut_segment(scores[work.slug], work, start, params.segment_s))
    order = {work.slug: rank for rank, work in enumerate(works.WORKS)}
    return sorted(segments, key=lambda s: (order[s.work.slug], s.name))


def _in_turn(chosen: tuple[works.Work, ...]) -> list[tuple[works.Work, int]]:
    """First starts of all works, then second starts, and so on."""
    longest = max((len(work.starts) for work in chosen), default=0)
    return [
        (work, work.starts[turn])
        for turn in range(longest)
        for work in chosen
        if turn < len(work.starts)
    ]


def cut_segment(score: Any, work: works.Work, first: int, segment_s: float) -> Segment:
    """From bar ``first``, as many whole bars as fit ``segment_s`` at the written tempo."""
    bars = list(score.parts[0].getElementsByClass("Measure"))
    numbers = [bar.number for bar in bars]
    start = numbers.index(first)
    ends_s = np.cumsum([float(bar.duration.quarterLength) for bar in bars[start:]])
    ends_s = ends_s * 60.0 / work.bpm
    count = max(1, int(np.searchsorted(ends_s, segment_s + 1e-6, "right")))
    while count > 1 and numbers[start + count - 1] < first:
        count -= 1  # an upbeat bar, numbered 0 in Humdrum, belongs to the bar after it
    last = numbers[start + count - 1]
    notes = notation.cut(
        score, first, last, bpm=work.bpm, parts=work.parts, pedal_style=work.pedal,
        where=work.path,
    )  # fmt: skip
    return Segment(f"{work.slug}_b{first:02d}-{last:02d}", work, notes)


def bar_contents(score: ScoreNotes) -> set[tuple[tuple[float, ...], ...]]:
    """What each bar asks for: (onset in the bar, length, key) of its notes, empty bars left out."""
    contents: set[tuple[tuple[float, ...], ...]] = set()
    for bar in np.unique(score.notes["bar"]):
        rows = score.notes[score.notes["bar"] == bar]
        start = rows["onset_beats"].min()
        contents.add(
            tuple(
                (round(float(r["onset_beats"] - start), 3), round(float(r["duration_beats"]), 3),
                 float(r["pitch_midi"]))
                for r in rows
            )
        )  # fmt: skip
    return contents


def segment_groups(segments: list[Segment]) -> dict[str, str]:
    """Content group of each segment.

    Two segments of a composition that share one bar note for note are one group; so are
    segments whose note streams overlap by half (``content_groups``), as in a varied repeat.
    """
    contents = {segment.name: bar_contents(segment.score) for segment in segments}
    declared: dict[str, str] = {}
    for segment in segments:
        twins = [
            declared[other.name]
            for other in segments
            if other.name in declared
            and other.work.composition == segment.work.composition
            and contents[other.name] & contents[segment.name]
        ]
        declared[segment.name] = twins[0] if twins else segment.name
        for name, group in declared.items():
            if group in twins:
                declared[name] = declared[segment.name]
    streams = {segment.name: note_stream(deadpan(segment.score)) for segment in segments}
    return content_groups(streams, declared)


def _row(segment: Segment, corpus: str, clip: str, player: str, group: str) -> dict[str, Any]:
    """Manifest columns that do not depend on the written file."""
    return {
        "clip": clip,
        "corpus": corpus,
        "corpus_version": VERSION,
        "licence": segment.work.licence,
        "redistributable": segment.work.licence == works.CC_BY_SA,
        "audio_path": None,
        "start_s": 0.0,
        "source": "synthetic",
        "composer": segment.work.composer,
        "composition": segment.work.composition,
        "movement": segment.work.movement,
        "segment": segment.name,
        "content_group": group,
        "instrument": None,
        "player": player,
        "is_score_render": False,
        "take": "1",
        "parent": None,
        "tier": 0,
    }
