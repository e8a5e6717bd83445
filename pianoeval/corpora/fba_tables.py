"""Which student plays which instrument: spreadsheets of the auditions, or one CSV for all of them.

A spreadsheet has one of two forms. *Long*: a sheet whose first row names ``Student`` and
``Instrument``, one row a score ("Raw Scores", "Raw Data"). *List*: the first column of the first
sheet holds the name of an instrument, below it the numbers of its students, then the next name.
"""

from __future__ import annotations

import csv
import importlib.util
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import ParseError

from pianoeval.corpora.fba_files import COLUMNS
from pianoeval.errors import BadInputError, MissingAssetError

INSTRUMENTS_CSV = "instruments.csv"
STUDENT = re.compile(r"\d{5,6}")
_MAX_BYTES = 64 << 20
_NEXT = f"save it as .xlsx again, or write {INSTRUMENTS_CSV}: see docs/fba.md"

Row = Sequence[object]


def read_spreadsheet(path: Path) -> dict[str, str]:
    """Instrument by student, as written; only the first row of a long table is a heading.

    Raises
    ------
    MissingAssetError
        openpyxl is not installed.
    BadInputError
        Not a spreadsheet, neither form, or a student with two instruments.
    """
    if importlib.util.find_spec("openpyxl") is None:
        raise MissingAssetError(
            "what reads spreadsheets is not installed", where=path,
            next_step=f"pip install 'pianoeval[fba]', or write {INSTRUMENTS_CSV}: see docs/fba.md",
        )  # fmt: skip
    sheets = _sheets(path)
    long = [rows for rows in sheets if rows and {"student", "instrument"} <= set(_heading(rows[0]))]
    pairs = _long(long[0]) if long else _listed(sheets[0] if sheets else [])
    found: dict[str, str] = {}
    for student, instrument in pairs:
        if found.setdefault(student, instrument) != instrument:
            raise BadInputError(
                f"student {student} plays '{found[student]}' and '{instrument}'", where=path,
                allowed="one instrument a student", next_step="mend the table",
            )  # fmt: skip
    if not found:
        raise BadInputError(
            "no student and instrument", where=path,
            allowed="columns Student and Instrument, or numbers below the name of an instrument",
            next_step=_NEXT,
        )  # fmt: skip
    return found


def read_instruments_csv(path: Path, level: str) -> dict[tuple[int, str], str]:
    """Instrument by year and student of one level: columns ``year, level, student, instrument``.

    Raises
    ------
    BadInputError
        Not readable, other columns, or a student with two instruments.
    """
    found: dict[tuple[int, str], str] = {}
    for row in read_csv(path):
        if row["level"] == level:
            year = row["year"]
            if not (STUDENT.fullmatch(row["student"]) and re.fullmatch(r"20\d\d", year)):
                raise BadInputError(
                    f"student '{row['student']}' of the year '{year}'", where=path,
                    allowed="a number of five or six digits, a year as 2013",
                    next_step=f"mend {path.name}",
                )  # fmt: skip
            key = (int(year), row["student"])
            if found.setdefault(key, row["instrument"]) != row["instrument"]:
                raise BadInputError(
                    f"student {key[1]} has two instruments in {key[0]}", where=path,
                    allowed="one row a student and year", next_step=f"mend {path.name}",
                )  # fmt: skip
    return found


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table of auditions; raises BadInputError unless it has its four columns."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [[cell.strip() for cell in line] for line in csv.reader(stream) if any(line)]
    except (OSError, ValueError, csv.Error) as error:
        raise BadInputError(
            f"not readable as CSV ({error})", where=path,
            allowed=f"UTF-8 text with the columns {', '.join(COLUMNS)}", next_step="save it again",
        ) from error  # fmt: skip
    heading = lines[0] if lines else []
    wrong = next((line for line in lines if len(line) != len(COLUMNS)), None)
    if sorted(heading) != sorted(COLUMNS) or wrong is not None:
        raise BadInputError(
            f"a row reads '{','.join(wrong or heading)[:60]}'", where=path,
            allowed=f"the columns {', '.join(COLUMNS)}", next_step=f"mend {path.name}",
        )  # fmt: skip
    return [dict(zip(heading, line, strict=True)) for line in lines[1:]]


def _sheets(path: Path) -> list[list[Row]]:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(part.file_size for part in packed.infolist())
        if size > _MAX_BYTES:
            raise ValueError(f"{size} bytes when unpacked, more than {_MAX_BYTES}")
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            return [list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets]
        finally:
            book.close()
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, ParseError,
        InvalidFileException,
    ) as error:  # fmt: skip
        raise BadInputError(
            f"not readable as a spreadsheet ({error})", where=path, allowed=".xlsx", next_step=_NEXT
        ) from error


def _heading(row: Row) -> list[str]:
    return [cell.strip().casefold() if isinstance(cell, str) else "" for cell in row]


def _long(rows: Sequence[Row]) -> Iterable[tuple[str, str]]:
    heading = _heading(rows[0])
    student, instrument = heading.index("student"), heading.index("instrument")
    for row in rows[1:]:
        number, name = _student(row[student]), row[instrument]
        if number and isinstance(name, str) and name.strip():
            yield number, name.strip()


def _listed(rows: Sequence[Row]) -> Iterable[tuple[str, str]]:
    instrument = ""
    for row in rows:
        cell = row[0] if row else None
        if number := _student(cell):
            if instrument:
                yield number, instrument
        elif cell is not None:  # another name, a total: what follows is no longer the last one's
            instrument = cell.strip() if isinstance(cell, str) else ""


def _student(cell: object) -> str:
    """The number of a student, which may be held as 29429.0 or as text; '' if it is none."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = str(cell).strip() if isinstance(cell, int | str) and not isinstance(cell, bool) else ""
    return text if STUDENT.fullmatch(text) else ""
