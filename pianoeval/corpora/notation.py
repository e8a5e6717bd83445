"""MusicXML and Humdrum scores, through music21, cut at bar lines into ``ScoreNotes``.

Repeats are not expanded; chord symbols are dropped; graces, trills, turns and mordents become
key presses. A note tied into the excerpt is struck at its first bar line, a note tied out of it
ends at its last one. Phrases end at fermatas and otherwise every four bars, counted from the
start of the excerpt: a heuristic, as few of these scores mark phrases.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from pianoeval.assets import read_member
from pianoeval.corpora.excerpt import (
    Press,
    beats,
    exact,
    harmonies,
    levels,
    meter_of,
    phrases,
    table,
)
from pianoeval.errors import BadInputError
from pianoeval.midi.score import ScoreNotes

_NEXT = "reinstall the scores: pip install --force-reinstall music21"


def read_score(path: Path) -> Any:
    """Parse .mxl, .xml, .musicxml or .krn into a music21 score; nothing is cached on disk.

    Raises
    ------
    BadInputError
        Absent, truncated or unreadable file, or a score without bars.
    """
    from music21 import converter
    from music21.exceptions21 import Music21Exception

    if not path.is_file():
        raise BadInputError("no such score", where=path, next_step=_NEXT)
    try:
        text = _score_text(path)
        kind = "humdrum" if path.suffix == ".krn" else "musicxml"
        score: Any = converter.parseData(text, format=kind)
        bars = [list(part.getElementsByClass("Measure")) for part in score.parts]
    except (
        OSError, zipfile.BadZipFile, UnicodeDecodeError, ElementTree.ParseError, Music21Exception,
        KeyError, IndexError, ValueError, AttributeError, TypeError, NotImplementedError,
    ) as error:  # fmt: skip
        raise BadInputError(
            f"not readable as a score ({type(error).__name__}: {error})", where=path,
            next_step=_NEXT,
        ) from error  # fmt: skip
    if not bars or not all(bars):
        raise BadInputError("a score without bars", where=path, next_step=_NEXT)
    return score


_SCORE_BYTES = 64 << 20


def _score_text(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".mxl":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [
                name for name in archive.namelist()
                if name.endswith((".xml", ".musicxml")) and not name.startswith("META-INF")
            ]  # fmt: skip
            if not names:
                raise BadInputError("an archive without a score", where=path, next_step=_NEXT)
            data = read_member(archive, names[0], _SCORE_BYTES)
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")


def bar_numbers(score: Any) -> list[int]:
    """Numbers of the bars of the first part, in the order of the score."""
    return [bar.number for bar in score.parts[0].getElementsByClass("Measure")]


def cut(
    score: Any, first: int, last: int, *, bpm: float, parts: Sequence[int] | None = None,
    pedal_style: float = 0.5, where: str | Path | None = None,
) -> ScoreNotes:  # fmt: skip
    """The bars numbered ``first`` to ``last`` (inclusive, with split bars between them).

    Parameters
    ----------
    parts : sequence of int, optional
        Which parts of the score the pianist plays; all by default.

    Raises
    ------
    BadInputError
        Bars that are not there, or an excerpt without notes.
    """
    numbers = bar_numbers(score)
    if first not in numbers or last not in numbers or last < first:
        raise BadInputError(
            f"no bars {first} to {last}", where=where,
            allowed=f"{min(numbers)} to {max(numbers)}", next_step=_NEXT,
        )  # fmt: skip
    start = numbers.index(first)
    stop = len(numbers) - numbers[::-1].index(last)
    chosen = [score.parts[index] for index in parts or range(len(score.parts))]
    presses: list[Press] = []
    for index, part in enumerate(chosen):
        presses += _part_presses(score, part, index, start, stop)
    if not presses:
        raise BadInputError(f"no notes in bars {first} to {last}", where=where, next_step=_NEXT)
    bars = list(chosen[0].getElementsByClass("Measure"))[start:stop]
    offsets = [exact(bar.offset - bars[0].offset) for bar in bars]
    end = offsets[-1] + exact(bars[-1].duration.quarterLength)
    notes = table(presses, end, levels(score, bars))
    return ScoreNotes(
        notes, float(end), bpm, phrases(presses, offsets, end),
        harmonies(notes, beats(bars, offsets)), pedal_style, closes=stop == len(numbers),
    )  # fmt: skip


def _part_presses(score: Any, part: Any, index: int, start: int, stop: int) -> list[Press]:
    """Key presses of one part in the bars ``start`` to ``stop``, ties joined."""
    bars = list(part.getElementsByClass("Measure"))[start:stop]
    if not bars:
        return []
    slurs = _slurs(score, part)
    raw: list[Press] = []
    for number, bar in enumerate(bars):
        base = exact(bar.offset - bars[0].offset)
        meter = meter_of(bar)
        for element in bar.recurse().notes:
            if "ChordSymbol" in element.classes or not element.pitches:
                continue
            inside = exact(element.getOffsetInHierarchy(bar))
            position = inside + exact(bar.paddingLeft)
            strength = meter.getAccentWeight(float(position), permitMeterModulus=True)
            at = exact(bar.offset) + inside
            legato = any(begin <= at < close for begin, close in slurs)
            raw += _element_presses(element, base + inside, index, number, strength, legato)
    return _join_ties(_number_graces(raw))


def _slurs(score: Any, part: Any) -> list[tuple[Fraction, Fraction]]:
    """Slurs of a part as (onset of the first, onset of the last note) from its start.

    MusicXML keeps the slurs of both staves with the first one, so notes are told by identity.
    """
    onsets = {
        id(element): exact(bar.offset) + exact(element.getOffsetInHierarchy(bar))
        for bar in part.getElementsByClass("Measure")
        for element in bar.recurse().notes
    }
    spans = []
    for slur in score.recurse().getElementsByClass("Slur"):
        begin, close = onsets.get(id(slur.getFirst())), onsets.get(id(slur.getLast()))
        if begin is not None and close is not None and close > begin:
            spans.append((begin, close))
    return spans


def _element_presses(
    element: Any, onset: Fraction, part: int, bar: int, strength: float, slurred: bool
) -> Iterator[Press]:
    """The key presses of a note or chord, ornaments written out."""
    marks = {type(mark).__name__ for mark in [*element.articulations, *element.expressions]}
    length = exact(element.duration.quarterLength)
    rolled = "ArpeggioMark" in marks
    pitches = sorted(element.notes if element.isChord else [element], key=lambda n: n.pitch.midi)
    for rank, note in enumerate(pitches):
        press = Press(
            onset, onset + length, note.pitch.midi, part, bar, strength,
            grace=1 if element.duration.isGrace else 0, roll=rank if rolled else 0,
            staccato=bool(marks & {"Staccato", "Staccatissimo"}),
            accent=bool(marks & {"Accent", "StrongAccent"}), slurred=slurred,
            fermata="Fermata" in marks, tie=note.tie.type if note.tie else None,
        )  # fmt: skip
        yield from _ornamented(press, element, note, marks)


def _ornamented(press: Press, element: Any, note: Any, marks: set[str]) -> Iterator[Press]:
    """Write out a trill, turn or mordent on a single note, in the steps of its key."""
    kind = next(iter(sorted(marks & {"Trill", "Turn", "Mordent", "InvertedMordent"})), None)
    length = press.end - press.onset
    if (
        kind is None
        or element.isChord
        or length < Fraction(1, 4)
        or press.tie in ("stop", "continue")
    ):
        yield press
        return
    key = element.getContextByClass("KeySignature")
    up, down = (_neighbour(note, key, step) for step in (1, -1))
    main = press.pitch
    figure = {
        "Trill": [up, main] * max(1, int(length / Fraction(1, 4))),
        "Turn": [up, main, down],
        "Mordent": [main, down],
        "InvertedMordent": [main, up],
    }[kind]
    step = min(Fraction(1, 8), length / (2 * len(figure)))
    onset = press.onset
    for pitch in figure:
        yield replace(press, onset=onset, end=onset + step, pitch=pitch, tie=None, accent=False)
        onset += step
    yield replace(press, onset=onset)


def _neighbour(note: Any, key: Any, direction: int) -> int:
    """The next step of the key signature's scale above or below a note, as a MIDI key."""
    step = (note.pitch.diatonicNoteNum + direction - 1) % 7
    name = "CDEFGAB"[step]
    accidental = key.accidentalByStep(name) if key is not None else None
    natural = (0, 2, 4, 5, 7, 9, 11)[step]
    octave = (note.pitch.diatonicNoteNum + direction - 1) // 7
    alter = int(accidental.alter) if accidental else 0
    return 12 * int(octave + 1) + natural + alter


def _number_graces(presses: list[Press]) -> list[Press]:
    """Count graces back from their main note: music21 gives all of them its offset."""
    done: list[Press] = []
    count = 0
    for press in reversed(presses):
        count = count + 1 if press.grace else 0
        done.append(replace(press, grace=count))
    return done[::-1]


def _join_ties(presses: list[Press]) -> list[Press]:
    """Merge tied notes of one part, and unisons of its voices, into single key presses."""
    done: list[Press] = []
    open_ties: dict[int, int] = {}
    for press in sorted(presses, key=lambda p: (p.onset, p.pitch, -p.grace)):
        held = open_ties.pop(press.pitch, None)
        if held is not None and press.tie in ("stop", "continue") and done[held].end >= press.onset:
            done[held] = replace(done[held], end=max(done[held].end, press.end),
                                 fermata=done[held].fermata or press.fermata)  # fmt: skip
        else:
            held = len(done)
            done.append(press)
        if press.tie in ("start", "continue"):
            open_ties[press.pitch] = held
    return done
