"""Scores cut at bar lines, against bars that anyone can look up."""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pianoeval.corpora import notation, works
from pianoeval.errors import BadInputError
from pianoeval.midi.score import ScoreNotes

WORK = {work.slug: work for work in works.WORKS}


@functools.cache
def parsed(slug: str) -> Any:
    return notation.read_score(works.score_file(WORK[slug]))


def bars(slug: str, first: int, last: int) -> ScoreNotes:
    work = WORK[slug]
    return notation.cut(parsed(slug), first, last, bpm=work.bpm, parts=work.parts)


def rows(score: ScoreNotes, part: int) -> list[tuple[float, float, int]]:
    chosen = score.notes[score.notes["part"] == part]
    return [
        (float(r["onset_beats"]), float(r["duration_beats"]), int(r["pitch_midi"])) for r in chosen
    ]


def test_first_bars_of_mozart_k545() -> None:
    score = bars("mozart-k545-1", 1, 2)
    assert score.end_beats == 8.0
    # c''2 e''4 g''4 | b'4. c''16 d'' c''4 r4, over an Alberti bass.
    assert rows(score, 0) == [
        (0, 2, 72), (2, 1, 76), (3, 1, 79), (4, 1.5, 71), (5.5, 0.25, 72), (5.75, 0.25, 74),
        (6, 1, 72),
    ]  # fmt: skip
    bass = [60, 67, 64, 67, 60, 67, 64, 67, 62, 67, 65, 67, 60, 67, 64, 67]
    assert rows(score, 1) == [(k / 2, 0.5, pitch) for k, pitch in enumerate(bass)]
    # The cut does not depend on where it starts.
    second = bars("mozart-k545-1", 2, 2)
    assert rows(second, 0) == [(on - 4, length, key) for on, length, key in rows(score, 0)[3:]]
    assert score.notes["melody"].sum() == 7
    assert not score.closes
    assert bars("mozart-k545-1", 11, 12).closes


def test_alberti_bass_keeps_its_pedal_until_the_harmony_moves() -> None:
    # C | G7, C in the second half of bar 2.
    assert bars("mozart-k545-1", 1, 2).harmony_beats.tolist() == [0.0, 4.0, 6.0]
    assert bars("chopin-op6-2", 9, 11).harmony_beats.tolist() == [0.0, 3.0, 6.0]


def test_beat_strength() -> None:
    score = bars("mozart-k545-1", 1, 1)
    strength = {float(r["onset_beats"]): float(r["strength"]) for r in score.notes}
    assert strength[0.0] == 1.0
    assert strength[2.0] == 0.5
    assert strength[1.0] == 0.25
    assert strength[0.5] < 0.25


def test_ties_are_one_key_press() -> None:
    # Prelude in C: the tenor e' enters a sixteenth late and is tied over the beat.
    left = rows(bars("bach-bwv846", 1, 1), 1)
    assert left == [(0, 2, 60), (0.25, 1.75, 64), (2, 2, 60), (2.25, 1.75, 64)]
    # Maple Leaf Rag, bar 2: the octave e flat is tied into the second beat.
    right = rows(bars("joplin-maple-leaf", 2, 2), 0)
    assert right[-2:] == [(0.75, 1.25, 63), (0.75, 1.25, 75)]


def test_a_note_tied_into_the_excerpt_is_struck_and_out_of_it_ends() -> None:
    # Dichterliebe 2: the upbeat chord a' c sharp'' is tied into bar 2.
    score = bars("schumann-r-op48-2", 2, 4)
    assert (0.0, 0.5, 69) in rows(score, 0)
    assert (0.0, 0.5, 73) in rows(score, 0)
    upbeat = bars("schumann-r-op48-2", 1, 1)
    assert upbeat.end_beats == 0.75
    assert {length for _, length, _ in rows(upbeat, 0)} == {0.5}


def test_upbeat_bar_and_short_bars() -> None:
    score = bars("joplin-maple-leaf", 0, 1)
    assert score.end_beats == 2.5
    assert score.notes["onset_beats"].min() == 0.0
    # Bar 1 starts after the eighth of the upbeat; its accent is a downbeat's.
    downbeat = score.notes[np.isclose(score.notes["onset_beats"], 0.5)]
    assert (downbeat["strength"] == 1.0).all()
    assert score.notes["strength"][0] < 1.0
    # Mazurka bar 16 has two beats, the third opens the next section.
    assert bars("chopin-op6-2", 9, 16).end_beats == 23.0


def test_chorale_unisons_and_fermatas() -> None:
    score = bars("bach-bwv227", 1, 4)
    keys = [(float(r["onset_beats"]), int(r["pitch_midi"])) for r in score.notes]
    assert len(keys) == len(set(keys))
    assert score.phrase_beats.tolist() == [0.0, 8.0, 16.0]
    soprano = rows(bars("bach-bwv227", 1, 2), 0)
    assert soprano == [(0, 1, 71), (1, 1, 71), (2, 1, 69), (3, 1, 67), (4, 2, 66), (6, 2, 64)]


def test_trill_and_turn_are_written_out() -> None:
    right = rows(bars("mozart-k545-1", 4, 4), 0)
    trill = [key for on, _, key in right if 1.0 <= on < 1.5]
    assert trill == [79, 77, 79, 77, 77]
    assert sum(length for on, length, _ in right if 1.0 <= on < 1.5) == pytest.approx(0.5)


def test_graces_are_counted_back() -> None:
    score = bars("schumann-c-op1-3", 1, 16)
    graces = score.notes[score.notes["grace"] > 0]
    assert len(graces) >= 5
    assert graces["grace"].min() == 1
    assert not graces["melody"].any()


def test_marks_are_read() -> None:
    score = bars("schumann-c-op1-1", 5, 9)
    assert score.notes["staccato"].any()
    assert score.notes["slurred"].any()
    assert set(np.unique(score.notes["level_db"])) == {3.0, -4.0, 0.0}  # f, p, mf
    rolled = score.notes[score.notes["roll"] > 0]
    assert (rolled["bar"] == 4).all()
    assert len(rolled) == 1


def test_bars_that_are_not_there() -> None:
    with pytest.raises(BadInputError, match="no bars 10 to 99"):
        bars("mozart-k545-1", 10, 99)
    with pytest.raises(BadInputError, match="1 to 12"):
        bars("mozart-k545-1", 5, 4)


@pytest.mark.parametrize("damage", ["empty", "truncated", "not_xml", "no_score", "absent", "krn"])
def test_bad_files_are_one_clear_error(tmp_path: Path, damage: str) -> None:
    good = works.score_file(WORK["mozart-k545-1"]).read_bytes()
    path = tmp_path / ("x.krn" if damage == "krn" else "x.mxl")
    if damage == "no_score":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("META-INF/container.xml", "<container/>")
    elif damage == "not_xml":
        path = tmp_path / "x.musicxml"
        path.write_text("<score-partwise><part></score", encoding="utf-8")
    elif damage != "absent":
        path.write_bytes(
            {"empty": b"", "truncated": good[: len(good) // 2], "krn": b"garbage\n"}[damage]
        )
    with pytest.raises(BadInputError) as caught:
        notation.read_score(path)
    assert str(path) in str(caught.value)
    assert "next:" in str(caught.value)
