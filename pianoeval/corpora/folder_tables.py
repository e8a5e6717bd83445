"""``labels.csv`` and ``metadata.csv`` of a folder corpus; see ``folder`` for the columns."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pianoeval.corpora.manifest import LABEL_COLUMNS, SOURCES, TASKS
from pianoeval.errors import BadInputError, is_printable

LABELS_CSV = "labels.csv"
METADATA_CSV = "metadata.csv"
METADATA = (
    "composer", "composition", "movement", "segment", "player", "take", "instrument", "source",
    "score",
)  # fmt: skip
_ALIASES = {"piece": "movement", "filename": "file"}
_LONG_ONLY = ("task", "n_raters", "sd", "low_pole", "high_pole", "higher_is_better")
MAX_TABLE_BYTES = 64 << 20
MAX_COLUMNS = 2_000
_LARGEST = 1e9  # of a label: the square of its mean must still be a number
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": None}


def read_metadata(folder: Path, clip_of: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Metadata by clip, from the columns of either table; an empty cell says nothing.

    Raises
    ------
    BadInputError
        A row for a file that is not there, or two rows that contradict each other.
    """
    found: dict[str, dict[str, str]] = {}
    for path in (folder / METADATA_CSV, folder / LABELS_CSV):
        if not path.is_file():
            continue
        table = _read(path)
        clips = _clips(table, clip_of, path)
        if "source" in table.columns:
            _check_words(table["source"], dict.fromkeys(("", *SOURCES)), "source", path)
        for column in [name for name in METADATA if name in table.columns]:
            for clip, value in zip(clips, table[column], strict=True):
                known = found.setdefault(clip, {})
                if value and known.setdefault(column, value) != value:
                    raise BadInputError(
                        f"'{clip}' has two values for {column}: '{known[column]}' and '{value}'",
                        where=path, next_step=f"mend {path.name}",
                    )  # fmt: skip
    return found


def read_labels_csv(
    folder: Path, clip_of: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Labels in the schema of the package, and single ratings where the table names raters.

    Parameters
    ----------
    clip_of : mapping of str to str
        What a table may call a recording (path, path without suffix, clip name), to its clip.

    Raises
    ------
    BadInputError
        Labels for recordings that are not there, two labels for one thing, no number, or a
        recording that lacks some dimensions of a task and has others.
    """
    path = folder / LABELS_CSV
    if not path.is_file():
        return pd.DataFrame(columns=list(LABEL_COLUMNS)), None
    long = _long(_read(path), clip_of, path)
    keys = ["clip", "task", "dimension"] + (["rater"] if "rater" in long.columns else [])
    doubled = long[long.duplicated(keys)]
    if len(doubled):
        first = doubled.iloc[0]
        raise BadInputError(
            f"{len(doubled)} labels are given twice, first '{first['clip']}', {first['dimension']}",
            where=path, allowed=f"one row for each {', '.join(keys)}",
            next_step=f"remove the copies from {path.name}",
        )  # fmt: skip
    _check_complete(long, path)
    if "rater" not in long.columns:
        return long.reindex(columns=list(LABEL_COLUMNS)), None
    by_label = long.groupby(["clip", "task", "dimension"], sort=False)
    labels = by_label.first().reset_index()
    labels["value"] = by_label["value"].mean().to_numpy()
    labels["sd"] = by_label["value"].std().to_numpy()
    labels["n_raters"] = by_label["value"].count().to_numpy()
    ratings = long[["clip", "rater", "dimension", "value"]].reset_index(drop=True)
    return labels.reindex(columns=list(LABEL_COLUMNS)), ratings


def _check_complete(long: pd.DataFrame, path: Path) -> None:
    """Whoever has a label of a task has all: models predict every dimension of a clip at once."""
    lacking: dict[str, list[str]] = {}
    for _, rows in long.groupby("task", sort=False):
        given = pd.crosstab(rows["clip"], rows["dimension"]) > 0
        for clip, has in given[~given.all(axis=1)].iterrows():
            lacking.setdefault(str(clip), []).extend(str(name) for name in has.index[~has])
    if lacking:
        shown = [f"'{clip}' ({', '.join(names)})" for clip, names in lacking.items()]
        raise BadInputError(
            f"{len(lacking)} recordings lack labels of some dimensions and have others: "
            + ", ".join(shown[:5]) + (", …" if len(shown) > 5 else ""),
            where=path, allowed="all dimensions of a recording, or none",
            next_step=f"in {path.name}, fill the cells, or drop the rows or the dimensions; then: "
            f"pianoeval corpus get {path.parent.parent.name} --from DIR",
        )  # fmt: skip


def _read(path: Path) -> pd.DataFrame:
    """A CSV as text, with blanks stripped and known aliases renamed."""
    try:
        _check_size(path)
        # Without `header`, pandas would rename a repeated column and hide a row that is too long.
        table = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        ).fillna("")
    except (OSError, ValueError, csv.Error) as error:  # ValueError covers bad UTF-8 and bad CSV
        raise BadInputError(
            f"not readable as CSV ({str(error).splitlines()[0]})", where=path,
            allowed="UTF-8 text with commas and one line of column names",
            next_step=f"save {path.name} as CSV (UTF-8) again",
        ) from error  # fmt: skip
    table = table.map(lambda cell: str(cell).strip())
    hidden = [cell for name in table.columns for cell in table[name] if not is_printable(cell)]
    if hidden:
        raise BadInputError(
            f"{len(hidden)} cells hold characters that cannot be shown, first {hidden[0][:80]!r}",
            where=path, allowed="one line of text a cell", next_step=f"mend {path.name}",
        )  # fmt: skip
    header = [_ALIASES.get(name.lower(), name) for name in table.iloc[0]]
    table = table.iloc[1:].set_axis(header, axis=1).reset_index(drop=True)
    if "" in header and bool((table.loc[:, [not name for name in header]] == "").all(axis=None)):
        table = table.loc[:, [bool(name) for name in header]]
    repeated = sorted(set(table.columns[table.columns.duplicated()]))
    if repeated or not {"file", "clip"} & set(table.columns):
        what = f"column '{repeated[0]}' occurs twice" if repeated else "no column names recordings"
        raise BadInputError(
            what, where=path, allowed="a column 'file' or 'clip'", next_step="see docs/corpora.md",
        )  # fmt: skip
    return table


def _check_size(path: Path) -> None:
    """Refuse what would take minutes or gigabytes; raises BadInputError, csv.Error, ValueError."""
    size, columns = path.stat().st_size, 0
    if size <= MAX_TABLE_BYTES:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            columns = len(next(csv.reader(stream), []))
    if size > MAX_TABLE_BYTES or columns > MAX_COLUMNS:
        raise BadInputError(
            f"{columns} columns" if columns else f"{size} bytes", where=path,
            allowed=f"{MAX_COLUMNS} columns, {MAX_TABLE_BYTES >> 20} MiB",
            next_step="write a long table: file, dimension, value",
        )  # fmt: skip


def _clips(table: pd.DataFrame, clip_of: Mapping[str, str], path: Path) -> list[str]:
    named = table["file"] if "file" in table.columns else table["clip"]
    missing = list(dict.fromkeys(name for name in named if name not in clip_of))
    if missing:
        shown = ", ".join(f"'{name}'" for name in missing[:5]) + (", …" if len(missing) > 5 else "")
        raise BadInputError(
            f"{len(missing)} of {len(set(named))} recordings in the table are not in the folder: "
            f"{shown}", where=path, allowed="paths relative to the folder, or clip names",
            next_step=f"add the files or remove the rows, then: pianoeval corpus get "
            f"{path.parent.parent.name} --from DIR",
        )  # fmt: skip
    return [clip_of[name] for name in named]


def _long(table: pd.DataFrame, clip_of: Mapping[str, str], path: Path) -> pd.DataFrame:
    """One row a label: wide tables are melted, empty cells dropped, values made numbers."""
    clips = _clips(table, clip_of, path)
    table = table.drop(columns=[n for n in ("file", "clip", *METADATA) if n in table.columns])
    table.insert(0, "clip", clips)
    pair = {"dimension", "value"} & set(table.columns)
    if len(pair) == 1:
        raise BadInputError(
            f"a column '{pair.pop()}' alone", where=path,
            allowed="'dimension' and 'value', or a column for each dimension",
            next_step="see docs/corpora.md",
        )  # fmt: skip
    if not pair:
        keys = [name for name in ("clip", "rater") if name in table.columns]
        table = table.melt(keys, var_name="dimension", value_name="value")
    table = table[table["value"] != ""].reset_index(drop=True)
    unknown = set(table.columns) - {"clip", "rater", "dimension", "value", *_LONG_ONLY}
    if unknown:
        raise BadInputError(
            f"unknown column '{sorted(unknown)[0]}'", where=path,
            allowed=", ".join(("file", "dimension", "value", "rater", *_LONG_ONLY, *METADATA)),
            next_step="see docs/corpora.md",
        )  # fmt: skip
    for name in ("value", "n_raters", "sd"):
        if name in table.columns:
            table[name] = _numbers(table, name, path)
    table["task"] = table["task"].replace("", "rating") if "task" in table.columns else "rating"
    for name, allowed in (("task", dict.fromkeys(TASKS)), ("higher_is_better", _TRUTH)):
        if name in table.columns:
            _check_words(table[name].str.lower(), allowed, name, path)
    if "higher_is_better" in table.columns:
        truth = [_TRUTH[word.lower()] for word in table["higher_is_better"]]
        table["higher_is_better"] = pd.array(truth, dtype="boolean")
    return table


def _numbers(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    numbers = pd.to_numeric(table[column].replace("", None), errors="coerce").astype(float)
    wrong = ~(numbers.abs() <= _LARGEST) & (table[column] != "")
    if wrong.any():
        first = table[wrong].iloc[0]
        raise BadInputError(
            f"{int(wrong.sum())} cells are not numbers, first '{first[column]}' "
            f"({first['clip']}, {first['dimension']})",
            where=path, allowed=f"a number up to {_LARGEST:g}, or nothing where there is no label",
            next_step=f"mend {path.name}",
        )  # fmt: skip
    return numbers


def _check_words(words: pd.Series, allowed: Mapping[str, object], column: str, path: Path) -> None:
    wrong = sorted(set(words) - set(allowed))
    if wrong:
        raise BadInputError(
            f"'{wrong[0]}' in column {column}", where=path,
            allowed=", ".join(word for word in allowed if word), next_step=f"mend {path.name}",
        )  # fmt: skip
