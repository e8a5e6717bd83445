"""The Florida all-state auditions taken from their owner's copy into the shared cache.

A copy has two kinds of folders, anywhere up to three levels below the directory that is named:
``FBA2013`` with annotations and ``2013-2014`` with recordings. Within them a level has a folder
(``middleschool``, ``middleschoolscores``, ``middle-school``) and a student a folder there or in its
``assessments``. What one level's three instruments need is copied, in one plain layout:
``auditions.csv`` and ``<year>/<student><kind>``.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from pianoeval.atomic import write_output
from pianoeval.corpora.fba_files import (
    ACTIVITIES,
    AUDITIONS,
    BANDS,
    COLUMNS,
    KINDS,
    Audition,
    instrument_name,
    read_activities,
)
from pianoeval.corpora.fba_tables import (
    INSTRUMENTS_CSV,
    read_instruments_csv,
    read_spreadsheet,
)
from pianoeval.corpora.receipt import Receipt, resolved_file, tree_digest
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.provenance import sha256_file

log = logging.getLogger(__name__)

LICENCE = "private: on request from the Florida Bandmasters Association"
LICENCE_NOTE = "recordings of pupils; not redistributed, and neither is what is made from them"
_DEPTH = 3
_ANNOTATED, _RECORDED = re.compile(r"FBA(20\d\d)"), re.compile(r"(20\d\d)-(20\d\d)")
_FILE = re.compile(r"(\d{5,6})(" + "|".join(re.escape(kind) for kind in KINDS) + ")")
_PLACES = ("*/*", "assessments/*/*", "*")  # below the folder of a level

Files = dict[str, dict[str, Path]]  # of a student, by kind


def get_fba(name: str, source: Path | None, level: str, staging: Path) -> Receipt:
    """Copy what is read of one level to ``staging``.

    Raises
    ------
    ConfigError
        No ``source``.
    MissingAssetError
        A spreadsheet, and openpyxl is not installed.
    BadInputError
        Not the layout, a table that cannot be read, two files for one thing, a link that leads
        out of the folder, or no audition of the three instruments.
    """
    again = f"pianoeval corpus get {name} --from DIR"
    if source is None:
        raise ConfigError(
            "say where your copy of the recordings lies; they are private, see docs/fba.md",
            where=name, next_step=again,
        )  # fmt: skip
    years = _years(source, again)
    files = {year: _scan(folders, level) for year, folders in years.items()}
    auditions = _auditions(source, years, files, level)
    if not any(one.instrument for one in auditions):
        raise BadInputError(
            f"no audition of the level '{level}' by alto saxophone, clarinet or flute",
            where=source, allowed="the layout of docs/fba.md", next_step=again,
        )  # fmt: skip
    for one in auditions:
        if one.instrument and not one.is_bad(level):
            for kind, path in files[one.year].get(one.student, {}).items():
                _copy(source, path, staging / one.file(kind))
    _write(auditions, level, staging / AUDITIONS)
    names = sorted(p.relative_to(staging).as_posix() for p in staging.rglob("*") if p.is_file())
    hashes = {file: sha256_file(staging / file) for file in names}
    digest = tree_digest(hashes)
    return Receipt(
        name=name, loader="fba", version=digest[:12], licence=LICENCE, licence_note=LICENCE_NOTE,
        source=f"FBA, level {level}, {', '.join(map(str, sorted(years)))}", digest=digest,
        files=hashes,
    )  # fmt: skip


def _years(source: Path, again: str) -> dict[int, list[Path]]:
    """Folders of the years that have both annotations and recordings."""
    annotated: dict[int, Path] = {}
    recorded: dict[int, Path] = {}
    for here, folders, _ in os.walk(source):
        deeper = []
        for folder in sorted(folders):
            path = Path(here) / folder
            if match := _ANNOTATED.fullmatch(folder):
                _note(annotated, int(match[1]), path)
            elif (match := _RECORDED.fullmatch(folder)) and int(match[2]) == int(match[1]) + 1:
                _note(recorded, int(match[1]), path)
            elif not folder.startswith("."):
                deeper.append(folder)
        folders[:] = deeper if len(Path(here).relative_to(source).parts) < _DEPTH - 1 else []
    for year in sorted(set(annotated) ^ set(recorded)):
        what = "annotations" if year in recorded else "recordings"
        log.warning("%d is left out: its %s are not in %s", year, what, source)
    both = sorted(set(annotated) & set(recorded))
    if not both:
        raise BadInputError(
            "no year has annotations and recordings", where=source,
            allowed="folders as FBA2013 and 2013-2014", next_step=again,
        )  # fmt: skip
    return {year: [annotated[year], recorded[year]] for year in both}


def _note(found: dict[int, Path], year: int, path: Path) -> None:
    if (other := found.setdefault(year, path)) != path:
        raise BadInputError(
            f"two folders for {year}, the other is '{other}'", where=path, allowed="one",
            next_step="name a directory that holds one of them",
        )  # fmt: skip


def _bands(folder: Path, level: str) -> list[Path]:
    """Folders of a level below a year's."""
    return [
        path for path in sorted(folder.iterdir())
        if path.is_dir() and _letters(path.name).removesuffix("scores") == BANDS[level]
    ]  # fmt: skip


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())


def _scan(folders: list[Path], level: str) -> Files:
    """Files of the students of a level in one year."""
    found: Files = defaultdict(dict)
    for band in (band for folder in folders for band in _bands(folder, level)):
        for path in sorted(path for place in _PLACES for path in band.glob(place)):
            match = _FILE.fullmatch(path.name)
            if match is None or path.parent.name not in (match[1], band.name):
                continue
            other = found[match[1]].setdefault(match[2], path)
            if other != path and sha256_file(other) != sha256_file(path):
                raise BadInputError(
                    f"differs from '{other}'", where=path, allowed="one file of a name a student",
                    next_step="remove one of the two",
                )  # fmt: skip
    return dict(found)


def _auditions(
    source: Path, years: Mapping[int, list[Path]], files: Mapping[int, Files], level: str
) -> list[Audition]:
    """Auditions of the three instruments, and those whose instrument nothing names."""
    table = source / INSTRUMENTS_CSV
    if table.is_file():
        named = {k: v for k, v in read_instruments_csv(table, level).items() if k[0] in years}
    else:
        named = dict(_named(years, level))
    auditions = []
    for year, students in files.items():
        for student in students:
            if (year, student) not in named:
                codes = students[student].get(ACTIVITIES)
                # Percussionists play several: what is no single code is none of the three.
                named[year, student] = _code(codes) if codes else ""
    for (year, student), text in sorted(named.items()):
        instrument = instrument_name(text)
        if instrument or not text:
            auditions.append(Audition(year, student, instrument or ""))
    return auditions


def _named(years: Mapping[int, list[Path]], level: str) -> Iterator[tuple[tuple[int, str], str]]:
    """Instruments by the spreadsheets of a level, beside its folder or in it."""
    for year, folders in years.items():
        known: dict[str, str] = {}
        places = [place for folder in folders for place in (folder, *_bands(folder, level))]
        for path in (path for place in places for path in sorted(place.glob("*.xlsx"))):
            if BANDS[level] not in _letters(path.stem) or path.name.startswith(("~$", ".")):
                continue
            for student, instrument in read_spreadsheet(path).items():
                if known.setdefault(student, instrument) != instrument:
                    raise BadInputError(
                        f"student {student} plays '{instrument}', and '{known[student]}' in "
                        "another table of the year", where=path,
                        allowed="one instrument a student", next_step="mend the tables",
                    )  # fmt: skip
        yield from (((year, student), text) for student, text in known.items())


def _code(path: Path) -> str:
    try:
        return read_activities(path)
    except BadInputError as error:
        log.info("%s names no single instrument: %s", path, error.what)
        return "several"


def _copy(source: Path, path: Path, target: Path) -> None:
    """Copied, not linked: the owner may go on editing the originals."""
    real = resolved_file(source, path.relative_to(source).as_posix())
    if real is None:
        raise BadInputError("not a regular file", where=path, next_step="remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(real, target)


def _write(auditions: list[Audition], level: str, path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((one.year, level, one.student, one.instrument) for one in auditions)
    write_output(path, text.getvalue())
