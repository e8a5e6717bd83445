"""ASAP: piano pieces that several people play, cut at the same bars of the score.

Foscarin, McLeod, Rigaux, Jacquemard, Sakai, "ASAP: a dataset of aligned scores and performances
for piano transcription", ISMIR 2020. Repository: fosfrancesco/asap-dataset, CC BY-NC-SA 4.0.

The corpus has no rating: it is predicted, not learned from. Every place of a piece is a segment;
its clips are performances of it and one deadpan clip, the same bars of the score's MIDI. Labels of
the task ``difficulty`` are Henle levels, where a list of them was given.

What the files are, measured: 1,067 performances of 222 pieces (composer and title), 169 of them
with two or more; in 31 performances the beats are not those of the score, and these are left out.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.atomic import write_output
from pianoeval.corpora.asap_files import (
    LEFT_OUT,
    LICENCE,
    PLACES,
    Beats,
    Entry,
    read_beats,
    read_entries,
    read_levels,
)
from pianoeval.corpora.asap_places import Place, Played, choose_places, drawn_performers
from pianoeval.corpora.content_groups import content_groups, note_stream
from pianoeval.corpora.manifest import (
    LABEL_COLUMNS,
    MANIFEST_COLUMNS,
    write_labels,
    write_manifest,
)
from pianoeval.corpora.receipt import read_receipt
from pianoeval.errors import BadInputError
from pianoeval.midi.excerpt import cut
from pianoeval.midi.io import Performance, read_midi, write_midi
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.provenance import sha256_file
from pianoeval.tablefile import write_table

log = logging.getLogger(__name__)

Float64 = NDArray[np.float64]
Barred = tuple[Performance, Float64]  # notes, and the bar lines among them

# Fewer notes than this are no texture to judge, and too few to tell contents apart.
_MIN_NOTES = 8
# Of the score's notes, bar by bar. Of the 495 excerpts of the default the least has .67 and 5 %
# have less than .86; what is left out has at most .36.
_MIN_SHARED = 0.6


def ingest(
    params: CorpusParams, name: str, raw: Path, out: Path, limits: MidiLimits
) -> dict[str, str]:
    """Write ``manifest, labels, places`` (Parquet) and ``midi/`` below ``out``.

    ``places.parquet`` holds what no other stage can know: clip, beats and seconds of the bars.

    Returns
    -------
    dict of str to str
        Quarantined clips with their reason.

    Raises
    ------
    BadInputError
        Tables or annotations that are not ASAP's, or no performance that is aligned.
    """
    levels = read_levels(raw)
    receipt = read_receipt(raw, f"pianoeval corpus get {name} --from DIR")
    book = _Book(name, receipt.version, out, limits, params.max_performers)
    for piece, entries in _pieces(read_entries(raw)).items():
        score_beats, played = _aligned(raw, entries)
        if played:
            places = choose_places(piece, score_beats, [p.beats for p in played], params)
            book.add(raw, score_beats, drawn_performers(played, params.seed), places)
    unknown = sorted(set(levels) - {str(row["movement"]) for row in book.rows})
    if unknown:
        log.warning("%d levels are of pieces without clip, first %s", len(unknown), unknown[0])
    return book.close(levels)


def _pieces(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Performances by piece, of the folder that holds most of them.

    A piece may lie in two folders, whose scores differ in their repeats: bars of the one are not
    those of the other.
    """
    folders: dict[str, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        folders[entry.piece][entry.folder].append(entry)
    return {
        piece: max(sorted(of.items()), key=lambda one: len(one[1]))[1]
        for piece, of in sorted(folders.items())
    }


def _aligned(raw: Path, entries: Sequence[Entry]) -> tuple[Beats, list[Played]]:
    """Beats of the score, and the performances that have the same ones."""
    score = read_beats(raw / entries[0].score_beats)
    found = [Played(entry, read_beats(raw / entry.performance_beats)) for entry in entries]
    same = [one for one in found if one.beats.kind == score.kind]
    for one in found:
        if one.beats.kind != score.kind:
            log.info("%s is left out: its beats are not the score's", one.entry.performance)
    return score, same


class _Book:
    """Clips as they are cut: files, rows of the manifest, and the notes of each segment."""

    def __init__(self, corpus: str, version: str, out: Path, limits: MidiLimits, most: int) -> None:
        self.corpus, self.version, self.out, self.limits = corpus, version, out, limits
        self.most = most
        self.rows: list[dict[str, object]] = []
        self.places: list[dict[str, object]] = []
        self.scores: dict[str, Performance] = {}
        self.bars: dict[str, Float64] = {}
        self.quarantined: dict[str, str] = {}
        self.left_out: dict[str, str] = {}

    def add(
        self, raw: Path, score_beats: Beats, drawn: Sequence[Played], places: Sequence[Place]
    ) -> None:
        """All clips of a piece, of the first performers whose bars hold the score's notes.

        A file that cannot be read costs its clips.
        """
        entry = drawn[0].entry
        deadpan = self._read(raw / entry.score, [_clip(place, "score") for place in places])
        if deadpan is None:
            return
        kept = []
        for place in places:
            notes = _cut(deadpan, score_beats, place)
            if notes.n_notes < _MIN_NOTES:
                log.info("%s is left out: %d notes", place.name, notes.n_notes)
                continue
            kept.append(place)
            self.scores[place.name] = notes
            self.bars[place.name] = _bars(score_beats, place)
            self._write(entry, place, _clip(place, "score"), notes, score_beats, None)
        taken = 0
        for one in drawn:
            if taken == self.most or not kept:
                break
            clips = [_clip(place, one.entry.player) for place in kept]
            performance = self._read(raw / one.entry.performance, clips)
            if performance is None:
                continue
            cuts = [_cut(performance, one.beats, place) for place in kept]
            if self._holds(one, cuts, kept):
                taken += 1
                for place, clip, notes in zip(kept, clips, cuts, strict=True):
                    self._write(one.entry, place, clip, notes, one.beats, one.entry.player)

    def _holds(self, one: Played, cuts: Sequence[Performance], places: Sequence[Place]) -> bool:
        """Whether a performance plays the score's notes in every place; else it is noted why not.

        Where beats were annotated at the wrong notes, the bars are those of another place.
        """
        for notes, place in zip(cuts, places, strict=True):
            score = (self.scores[place.name], self.bars[place.name])
            part = shared_notes((notes, _bars(one.beats, place)), score)
            if part < _MIN_SHARED:
                reason = f"{part:.0%} of the notes of {place.name}"
                self.left_out[one.entry.performance] = reason
                log.info("%s is left out: it holds %s", one.entry.performance, reason)
                return False
        return True

    def _read(self, path: Path, clips: list[str]) -> Performance | None:
        try:
            return read_midi(path, self.limits)
        except BadInputError as error:
            self.quarantined |= dict.fromkeys(clips, str(error))
            return None

    def _write(
        self, entry: Entry, place: Place, clip: str, notes: Performance, beats: Beats,
        player: str | None,
    ) -> None:  # fmt: skip
        target = self.out / "midi" / ("score" if player is None else "") / f"{clip}.mid"
        write_midi(notes, target)
        seconds = float(beats.time_s[place.last] - beats.time_s[place.first])
        self.places.append(
            {"clip": clip, "bar": place.bar, "bars": place.bars,
             "beats": place.last - place.first, "seconds": seconds}
        )  # fmt: skip
        self.rows.append(
            {
                "clip": clip,
                "corpus": self.corpus,
                "corpus_version": self.version,
                "licence": LICENCE,
                "redistributable": True,
                "audio_path": None,
                "midi_path": target.relative_to(self.out.parent).as_posix(),
                "score_path": f"{self.out.name}/midi/score/{_clip(place, 'score')}.mid",
                "start_s": 0.0,
                "end_s": read_midi(target, self.limits).end_s,
                "sha256": sha256_file(target),
                "source": "synthetic" if player is None else "disklavier",
                "composer": entry.composer,
                "composition": entry.work,
                "movement": entry.piece,
                "segment": place.name,
                "instrument": None,
                "player": "score" if player is None else player,
                "is_score_render": player is None,
                "take": "1",
                "parent": None,
                "tier": 0,
            }
        )

    def close(self, levels: Mapping[str, float]) -> dict[str, str]:
        """Groups, labels and files."""
        if not self.rows:
            raise BadInputError(
                "no performance is aligned with its score", where=self.corpus,
                next_step="pianoeval corpus get asap --from DIR",
            )  # fmt: skip
        groups = content_groups({key: note_stream(score) for key, score in self.scores.items()})
        rows = [{**row, "content_group": groups[str(row["segment"])]} for row in self.rows]
        table = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
        write_manifest(table, self.out / "manifest.parquet")
        write_labels(_labels(table, levels), self.out / "labels.parquet")
        write_table(pd.DataFrame(self.places), self.out / PLACES)
        told = json.dumps(self.left_out, indent=1, sort_keys=True, ensure_ascii=False)
        write_output(self.out / LEFT_OUT, told + "\n")
        human = table[~table["is_score_render"]]
        log.info(
            "%s: %d performances and %d deadpan clips of %d pieces, %.1f h, %d pieces with a level",
            self.corpus, len(human), len(table) - len(human), table["movement"].nunique(),
            table["end_s"].sum() / 3600, len(set(levels) & set(table["movement"])),
        )  # fmt: skip
        return self.quarantined


def shared_notes(one: Barred, other: Barred) -> float:
    """Notes that both play in one bar, whatever their order, as a part of ``other``; [0, 1]."""
    counts = []
    for notes, bars in (one, other):
        table = np.zeros((len(bars) - 1, 128), np.int64)
        bar = np.searchsorted(bars[1:-1], notes.onset_s, side="right")
        np.add.at(table, (bar, notes.pitch_midi.astype(np.int64)), 1)
        counts.append(table)
    return float(np.minimum(*counts).sum() / max(1, other[0].n_notes))


def _bars(beats: Beats, place: Place) -> Float64:
    """Bar lines of a place from its first one, in seconds: float64 (bars + 1,)."""
    down = beats.downbeats
    inside = down[(down >= place.first) & (down <= place.last)]
    found: Float64 = beats.time_s[inside] - beats.time_s[place.first]
    return found


def _cut(performance: Performance, beats: Beats, place: Place) -> Performance:
    start, end = beats.time_s[place.first], beats.time_s[place.last]
    return cut(
        performance, float(start), float(end), float(end - start) / (place.last - place.first)
    )


def _clip(place: Place, player: str) -> str:
    return f"{place.name.replace('/', '_')}_{player}"


def _labels(table: pd.DataFrame, levels: Mapping[str, float]) -> pd.DataFrame:
    """The level of its piece, for every clip of a piece that has one."""
    rows = [
        {
            "clip": clip, "task": "difficulty", "dimension": "henle", "value": levels[piece],
            "n_raters": None, "sd": None, "low_pole": "easy", "high_pole": "difficult",
            "higher_is_better": None,
        }
        for clip, piece in zip(table["clip"], table["movement"], strict=True)
        if piece in levels
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(LABEL_COLUMNS))
