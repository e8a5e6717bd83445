"""The tables of ASAP as they lie in its repository: performances, beats, and Henle levels.

Beats are read from the ``*_annotations.txt`` beside each file, not from ``asap_annotations.json``,
which says the same and is not needed: a performance is aligned with its score when both carry the
same sequence of beats, downbeats and irregular beats.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pianoeval.corpora.receipt import checked_name
from pianoeval.errors import BadInputError, MissingAssetError

LICENCE = "CC BY-NC-SA 4.0"
LICENCE_NOTE = (
    "CC BY-NC-SA 4.0: not for commercial use; cite Foscarin et al., ISMIR 2020. Henle levels are "
    "the publisher's and are not passed on."
)
METADATA = "metadata.csv"
LEVELS = "levels.csv"
LICENCE_FILE = "LICENSE.md"
# Written by the ingest: clip, bars, beats and seconds; performances that hold other bars.
PLACES, LEFT_OUT = "places.parquet", "left_out.json"
_NEEDED = ("composer", "title", "folder", "midi_score", "midi_performance",
           "performance_annotations", "midi_score_annotations")  # fmt: skip
_NEXT = "pianoeval corpus get asap --from DIR"
HENLE = (1.0, 9.0)
DOWNBEAT, BEATS = "db", ("b", "db", "bR")
MAX_BYTES = 64 << 20
# "Yarden09", "LuoJ03M", "MiyashitaM01M": a name, the number of the piece in the programme, and
# an M where the recording is in MAESTRO.
_STEM = re.compile(r"(?P<name>.+?)(?P<number>\d{1,2})?M?")
# What is one work: "Piano_Sonatas_31-3_4", "Sonata_2_1st"; a prelude and its fugue; a cycle.
_WORK = (
    re.compile(r"(?P<work>.+)-\d+(?:_\d+)?"),
    re.compile(r"(?P<work>.+)_\d(?:st|nd|rd|th)"),
    re.compile(r"(?:Prelude|Fugue)_(?P<work>bwv_\d+)"),
    re.compile(r"(?P<work>Kreisleriana)_\d+"),
    re.compile(r"(?P<work>Toccata)_repeat"),
)


@dataclass(frozen=True)
class Entry:
    """One performance of ``metadata.csv``; paths are relative to the folder of the data set."""

    composer: str
    title: str
    folder: str
    score: str
    performance: str
    score_beats: str
    performance_beats: str

    @property
    def piece(self) -> str:
        """``composer/title``, which ASAP's authors say to take for a piece."""
        return f"{self.composer}/{self.title}"

    @property
    def work(self) -> str:
        """The composition that a piece is a movement of, or the piece itself."""
        for pattern in _WORK:
            if match := pattern.fullmatch(self.title):
                return f"{self.composer}/{match['work']}"
        return self.piece

    @property
    def player(self) -> str:
        """Name in the file's name. Two people of one name cannot be told apart."""
        match = _STEM.fullmatch(Path(self.performance).stem)
        return (match["name"] if match else Path(self.performance).stem).lower()

    @property
    def files(self) -> tuple[str, str, str, str]:
        """All that is read of this performance."""
        return (self.score, self.performance, self.score_beats, self.performance_beats)


@dataclass(frozen=True, eq=False)
class Beats:
    """Annotated beats: ``time_s`` float64 (beats,), rising, and their ``kind`` (b, db, bR)."""

    time_s: NDArray[np.float64]
    kind: tuple[str, ...]

    @property
    def downbeats(self) -> NDArray[np.int64]:
        """Positions of the downbeats among the beats."""
        return np.flatnonzero(np.array(self.kind) == DOWNBEAT)


def read_entries(folder: Path) -> list[Entry]:
    """Every performance, in the order of their names.

    Raises
    ------
    MissingAssetError, BadInputError
        There is no ``metadata.csv``, or it is not ASAP's.
    """
    path = folder / METADATA
    rows = _rows(path, _NEEDED)
    found = [
        Entry(
            row["composer"], row["title"], row["folder"],
            *(checked_name(row[name]) for name in (
                "midi_score", "midi_performance", "midi_score_annotations",
                "performance_annotations",
            )),
        )
        for row in rows
    ]  # fmt: skip
    names = [entry.performance for entry in found]
    if len(set(names)) < len(names):
        raise BadInputError("a performance stands in two rows", where=path, next_step=_NEXT)
    return sorted(found, key=lambda entry: entry.performance)


def read_beats(path: Path) -> Beats:
    """Beats of a score or a performance: tab-separated start, end, label.

    Raises
    ------
    BadInputError
        A time that is no number or does not rise, or no beat at all.
    """
    if not path.is_file():
        raise MissingAssetError("no such file", where=path, next_step=_NEXT)
    times, kinds = [], []
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split("\t")
        kind = cells[2].split(",")[0].strip() if len(cells) > 2 else ""
        if not line.strip() or (len(cells) > 2 and kind not in BEATS):
            continue  # changes of metre or key that stand alone
        try:
            times.append(float(cells[0]))
        except ValueError:
            times.append(np.nan)
        if len(cells) < 3 or not np.isfinite(times[-1]):
            raise BadInputError(f"line {number} is no beat", where=path, next_step=_NEXT)
        kinds.append(kind)
    time_s = np.array(times, np.float64)
    if len(time_s) < 2 or (np.diff(time_s) <= 0).any():
        raise BadInputError("beats that do not rise", where=path, next_step=_NEXT)
    return Beats(time_s, tuple(kinds))


def read_levels(folder: Path) -> dict[str, float]:
    """Henle level (1..9) by piece; empty where the corpus has no ``levels.csv``.

    Raises
    ------
    BadInputError
        A level outside 1..9, or two levels for one piece.
    """
    path = folder / LEVELS
    if not path.is_file():
        return {}
    levels: dict[str, float] = {}
    for row in _rows(path, ("composer", "title", "henle")):
        piece = f"{row['composer']}/{row['title']}"
        try:
            level = float(row["henle"])
        except ValueError:
            level = np.nan
        if not HENLE[0] <= level <= HENLE[1]:
            raise BadInputError(
                f"'{row['henle']}' is no level of {piece}", where=path, allowed="1 to 9",
                next_step=f"{_NEXT} --levels FILE",
            )  # fmt: skip
        if levels.setdefault(piece, level) != level:
            raise BadInputError(
                f"{piece} has the levels {levels[piece]:g} and {level:g}", where=path,
                allowed="one level a piece", next_step=f"{_NEXT} --levels FILE",
            )  # fmt: skip
    return levels


def _rows(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        raise MissingAssetError("no such file", where=path, next_step=_NEXT)
    if path.stat().st_size > MAX_BYTES:
        raise BadInputError(
            "too large for a table", where=path, allowed=f"{MAX_BYTES} bytes", next_step=_NEXT
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [{key: value or "" for key, value in row.items() if key} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"no table ({error})", where=path, next_step=_NEXT) from error
    lacking = [name for name in needed if name not in (reader.fieldnames or ())]
    if lacking or not rows:
        what = f"lacks the columns {', '.join(lacking)}" if lacking else "holds no row"
        raise BadInputError(what, where=path, allowed=", ".join(needed), next_step=_NEXT)
    for number, row in enumerate(rows, start=2):
        if not all(row.get(name) for name in needed):
            raise BadInputError(f"line {number} has an empty cell", where=path, next_step=_NEXT)
    return rows
