"""What a report is made of: one corpus' tables, read once and checked before anything is drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.paths import CorpusPaths
from pianoeval.report.examples import load_examples
from pianoeval.report.extras import Beside, overlap_by_part, read_beside
from pianoeval.tablefile import read_table

RESULT_COLUMNS = (
    "corpus", "task", "scheme", "subset", "features", "model", "dimension", "metric", "value",
    "ci_low", "ci_high", "interval", "n_clips", "n_clusters", "seed", "config_hash", "commit",
)  # fmt: skip
_NUMERIC = ("value", "ci_low", "ci_high", "n_clips", "n_clusters")
_TEXT = tuple(column for column in RESULT_COLUMNS if column not in _NUMERIC)
_PREDICTION_COLUMNS = ("clip", "scheme", "model", "task", "dimension", "prediction")
_LABEL_COLUMNS = ("clip", "task", "dimension", "value")


@dataclass(frozen=True, eq=False)
class CorpusReport:
    """Everything the page says about one corpus.

    Attributes
    ----------
    corpus : str
        Name of the corpus.
    results : DataFrame
        Columns `RESULT_COLUMNS`; empty only if every scheme was skipped.
    summary : Mapping
        ``notes`` (list of str), ``skipped`` ({scheme: reason}), ``quarantined``
        ({clip: reason}), ``simulated`` (bool), and what else `pianoeval.evaluate` wrote.
    manifest, labels : DataFrame or None
        None when the report is drawn from the results alone.
    predictions : Mapping[str, DataFrame]
        Out-of-fold predictions by view; the view is the ``features`` of the results.
    beside : Beside
        Comparisons, diagnostics, latent maps and the leak audit, each None if it was not computed.
    examples : Mapping or None
        Clips to see and hear, as the stage ``examples`` wrote them.
    """

    corpus: str
    results: pd.DataFrame
    summary: Mapping[str, Any]
    manifest: pd.DataFrame | None = None
    labels: pd.DataFrame | None = None
    predictions: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)
    examples: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "results", _checked_results(self.results, self.corpus))
        _check_summary(self.summary, self.corpus)

    @property
    def skipped(self) -> dict[str, str]:
        """Schemes that could not be cut, with the reason."""
        return {str(k): str(v) for k, v in dict(self.summary.get("skipped") or {}).items()}

    @property
    def quarantined(self) -> dict[str, str]:
        """Clips that were left out before any model saw them, with the reason."""
        return {str(k): str(v) for k, v in dict(self.summary.get("quarantined") or {}).items()}

    @property
    def notes(self) -> list[str]:
        return [str(note) for note in self.summary.get("notes") or []]

    @property
    def simulated(self) -> bool:
        return bool(self.summary.get("simulated", False))

    @cached_property
    def task(self) -> str:
        """The task of the headline: ``rating`` where there is one, else the first by name."""
        tasks = sorted(set(self.results["task"]))
        return "rating" if "rating" in tasks else tasks[0]


def _again(corpus: str) -> str:
    return f"dvc repro evaluate@{corpus}"


def require_columns(frame: pd.DataFrame, wanted: Sequence[str], where: str | Path) -> None:
    """Raise CorruptDataError, naming the columns, unless ``frame`` has all that are wanted."""
    missing = [column for column in wanted if column not in frame.columns]
    if missing:
        raise CorruptDataError(
            f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing",
            where=where,
            allowed=", ".join(wanted),
            next_step="dvc repro",
        )


def _checked_results(results: pd.DataFrame, corpus: str) -> pd.DataFrame:
    """Results with plain column types, in an order that does not depend on the writer."""
    where = f"results of {corpus}"
    require_columns(results, RESULT_COLUMNS, where)
    if results.empty:
        raise CorruptDataError("no results in the table", where=where, next_step=_again(corpus))
    results = results.loc[:, list(RESULT_COLUMNS)].copy()
    for column in _TEXT:
        results[column] = results[column].astype("object").where(results[column].notna(), "")
        results[column] = results[column].map(str)
    for column in _NUMERIC:
        try:
            results[column] = pd.to_numeric(results[column]).astype("float64")
        except (ValueError, TypeError) as error:
            raise CorruptDataError(
                f"column {column} is not numeric: {error}", where=where, next_step=_again(corpus)
            ) from error
    others = sorted(set(results["corpus"]) - {corpus})
    if others:
        raise CorruptDataError(
            f"rows of another corpus: {', '.join(others)}", where=where, next_step=_again(corpus)
        )
    order = ["task", "scheme", "subset", "features", "model", "dimension", "metric"]
    return results.sort_values([*order, "value"], kind="stable", ignore_index=True)


def _check_summary(summary: Mapping[str, Any], corpus: str) -> None:
    for key, kind in (("notes", list), ("skipped", Mapping), ("quarantined", Mapping)):
        value = summary.get(key)
        if value is not None and not isinstance(value, kind):
            raise CorruptDataError(
                f"'{key}' is a {type(value).__name__}",
                where=f"summary of {corpus}",
                allowed="notes: list of sentences; skipped: {scheme: reason}; "
                "quarantined: {clip: reason}",
                next_step=_again(corpus),
            )


def _present(path: Path, next_step: str) -> Path:
    if not path.is_file():
        raise MissingAssetError("no such file", where=path, next_step=next_step)
    return path


def _read_results(path: Path, corpus: str) -> pd.DataFrame:
    # Every cell is read as text, so that a player called "NA" or a hash like "1e10" survives.
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise CorruptDataError(
            f"not a table: {error}", where=path, next_step=_again(corpus)
        ) from error
    require_columns(frame, RESULT_COLUMNS, path)
    for column in _NUMERIC:
        frame[column] = frame[column].astype("object").where(frame[column] != "", None)
    return frame


def read_results(path: Path, corpus: str) -> pd.DataFrame:
    """``results.csv`` of one corpus, checked; raises CorruptDataError."""
    return _checked_results(_read_results(path, corpus), corpus)


def _read_summary(path: Path, corpus: str) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(
            f"not JSON: {error}", where=path, next_step=_again(corpus)
        ) from error
    if not isinstance(summary, dict):
        raise CorruptDataError("not a JSON object", where=path, next_step=_again(corpus))
    return summary


def _read_parquet(path: Path, wanted: Sequence[str], next_step: str) -> pd.DataFrame:
    frame = read_table(path, next_step)
    require_columns(frame, wanted, path)
    return frame


def _by_features(table: pd.DataFrame, view: str) -> dict[str, pd.DataFrame]:
    """A file holds one view, or several that its column ``features`` or ``view`` tells apart."""
    column = next((name for name in ("features", "view") if name in table.columns), None)
    if column is None:
        return {view: table}
    return {str(name): part for name, part in table.groupby(column, sort=True)}


def load_corpus_report(
    paths: CorpusPaths, views: Sequence[str], *, results_only: bool = False
) -> CorpusReport:
    """Read what `pianoeval.evaluate` and the probes wrote for one corpus.

    Parameters
    ----------
    paths : CorpusPaths
    views : sequence of str
        Files of predictions to read. A file without a column ``features`` or ``view`` holds the
        view of its own name; views are named as ``features`` in the results.
    results_only : bool
        Read nothing below ``data/``: for a corpus whose results are kept here without its clips.
        The page then says so, and leaves out the figures that need clips.

    Raises
    ------
    MissingAssetError
        A file is absent.
    CorruptDataError
        A file cannot be read, or lacks columns.
    """
    corpus = paths.corpus
    results = _read_results(_present(paths.results / "results.csv", _again(corpus)), corpus)
    summary = _read_summary(_present(paths.results / "summary.json", _again(corpus)), corpus)
    beside = read_beside(paths.results, corpus)
    if beside.leaks is not None:
        summary["leak_audit"] = overlap_by_part(beside.leaks)
    if results_only:
        return CorpusReport(corpus, results, summary, beside=beside)
    step = "dvc repro"
    predictions: dict[str, pd.DataFrame] = {}
    for view in sorted(views):
        table = _read_parquet(paths.predictions(view), _PREDICTION_COLUMNS, step)
        predictions |= _by_features(table, view)
    return CorpusReport(
        corpus,
        results,
        summary,
        manifest=_read_parquet(paths.manifest, ("clip",), step),
        labels=_read_parquet(paths.labels, _LABEL_COLUMNS, step),
        predictions=predictions,
        beside=beside,
        examples=load_examples(paths),
    )
