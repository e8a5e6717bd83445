"""``pianoeval compare``: two runs as the user names them, and all that is found about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.compare.align import Aligned, Pair, Ratings, Side, align, differing_groups
from pianoeval.compare.paired import Comparison, check_metric, compare_rows
from pianoeval.compare.places import PARAMS, Place, open_place, read_params, split_run
from pianoeval.compare.runs import Run, evaluate_settings, is_special, load_run, setting
from pianoeval.compare.verdict import scheme_verdict
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.statistics import ceiling
from pianoeval.params import EvaluateParams
from pianoeval.report.words import joined, scheme_name, scheme_rank

SUBSETS = ("all", "human")
_CHOSEN = (
    "p takes this pair of models as named before looking; where it was picked after looking, go by "
    "comparisons.csv, which adjusts for all pairs of a run."
)


@dataclass(frozen=True)
class Findings:
    """What a comparison prints.

    Attributes
    ----------
    a, b : str
        The runs as they were named, with the commit of a revision.
    changed : list of (str, str, str)
        Parameters that differ: name, value in A, value in B.
    rows : list of Comparison
    verdicts : dict of str
        By scheme.
    notes : list of str
        What a reader must know.
    """

    corpus: str
    task: str
    metric: str
    subset: str
    confidence: float
    n_draws: int
    a: str
    b: str
    changed: list[tuple[str, str, str]]
    rows: list[Comparison]
    verdicts: dict[str, str]
    notes: list[str]


def compare_runs(
    run_a: str,
    run_b: str,
    corpus: str | None = None,
    schemes: Sequence[str] = (),
    metric: str = "r2_pooled",
    subset: str = "all",
) -> Findings:
    """Compare two runs on the clips, ratings and rows that they share.

    Parameters
    ----------
    run_a, run_b : str
        ``PLACE[:features/model]``. With a row on one side the other has the same row; with none,
        every row of both is compared.
    corpus : str, optional
        Needed where the runs share several, or where it is on the axes of neither.
    schemes : sequence of str
        Empty: all that both runs have.
    metric, subset : str

    Raises
    ------
    ConfigError, BadInputError, MissingAssetError, CorruptDataError
        Whatever stands in the way, with the next command.
    """
    if subset not in SUBSETS:
        raise ConfigError(f"unknown subset '{subset}'", where="--subset", allowed="all, human")
    named = [split_run(run_a), split_run(run_b)]
    chosen = [named[0][1] or named[1][1], named[1][1] or named[0][1]]
    for row in chosen:
        _refuse_control(row)
    with ExitStack() as stack:
        places = [stack.enter_context(open_place(name)) for name, _ in named]
        params = [read_params(place) for place in places]
        settings = evaluate_settings(params[0], places[0])
        check_metric(metric, settings.margins)
        corpus = corpus or _shared_corpus(params, places)
        a, b = (
            load_run(place, raw, corpus, row, metric.startswith("pairwise"))
            for place, raw, row in zip(places, params, chosen, strict=True)
        )
    rows, verdicts, notes = _compare(a, b, chosen, schemes, metric, subset, settings)
    return Findings(
        corpus, a.task, metric, subset, settings.confidence, settings.n_bootstrap,
        _label(a, chosen[0]), _label(b, chosen[1]), changed_params(*params), rows, verdicts, notes,
    )  # fmt: skip


def _compare(
    a: Run,
    b: Run,
    chosen: Sequence[str | None],
    schemes: Sequence[str],
    metric: str,
    subset: str,
    settings: EvaluateParams,
) -> tuple[list[Comparison], dict[str, str], list[str]]:
    """Rows, verdicts by scheme, and notes."""
    pairs, notes = _pairs(a, b, *chosen)
    ratings = Ratings(a, b)
    averaged = averaged_dimensions(a, ratings.dimensions, settings, metric, notes)
    sides = [
        Side(run, clips, ratings.dimensions, set(names))
        for run, clips, names in zip((a, b), ratings.clips, zip(*pairs, strict=True), strict=True)
    ]
    notes += _group_notes(a, b)
    rows: list[Comparison] = []
    verdicts: dict[str, str] = {}
    for scheme in _schemes(a, b, schemes, notes):
        aligned = align(sides[0], sides[1], ratings, scheme, pairs, subset, settings.min_players)
        if aligned is None:
            notes.append(f"{scheme_name(scheme)}: no row has predictions in both runs.")
            continue
        found = compare_rows(aligned, metric, settings, averaged)
        notes += scheme_notes(aligned, len(pairs))
        rows += found
        verdicts[scheme] = scheme_verdict(found, metric, settings.confidence)
    if not rows:
        raise BadInputError("nothing can be compared: " + " ".join(notes), next_step="dvc repro")
    return rows, verdicts, notes


def _label(run: Run, row: str | None) -> str:
    name = f"{run.name} ({run.version})" if run.version else run.name
    return f"{name}: {row}" if row else name


def _refuse_control(row: str | None) -> None:
    if row is not None and is_special(row.split("/")[0]):
        raise ConfigError(
            f"'{row}' is a control or a part of a learning curve",
            allowed="models and baselines", next_step="see the controls of the report",
        )  # fmt: skip


def _shared_corpus(params: Sequence[Mapping[str, Any]], places: Sequence[Place]) -> str:
    one, other = (
        [str(name) for name in setting(raw, "axes.corpus", place)]
        for raw, place in zip(params, places, strict=True)
    )
    shared = [name for name in one if name in other]
    if len(shared) != 1:
        raise ConfigError(
            "several corpora are on the axes of both runs" if shared
            else "no corpus is on the axes of both runs",
            where=" and ".join(dict.fromkeys(place.where(PARAMS) for place in places)),
            allowed=", ".join(shared or sorted({*one, *other})),
            next_step=f"pianoeval compare … --corpus {(shared or one)[0]}",
        )  # fmt: skip
    return shared[0]


def _pairs(a: Run, b: Run, row_a: str | None, row_b: str | None) -> tuple[list[Pair], list[str]]:
    """Rows that are compared, and what is left out."""
    if row_a is not None and row_b is not None:
        return [(row_a, row_b)], [_CHOSEN] if row_a != row_b else []
    known = [
        [name for name, key in run.rows.items() if not is_special(key.features)] for run in (a, b)
    ]
    shared = [name for name in known[0] if name in known[1]]
    if not shared:
        raise ConfigError(
            "the runs share no row",
            allowed=f"of A: {', '.join(known[0]) or 'none'}; of B: {', '.join(known[1]) or 'none'}",
            next_step="name a row of each: PLACE:features/model",
        )
    notes = []
    for label, names in zip(("A", "B"), known, strict=True):
        if alone := [name for name in names if name not in shared]:
            notes.append(f"Only in {label}, not compared: {', '.join(alone)}.")
    return [(name, name) for name in shared], notes


def _schemes(a: Run, b: Run, wanted: Sequence[str], notes: list[str]) -> list[str]:
    shared = sorted((s for s in a.schemes if s in b.schemes), key=scheme_rank)
    absent = [name for name in wanted if name not in shared]
    if absent or not shared:
        raise ConfigError(
            f"{joined(absent) or 'no scheme'} is not in the folds of both runs",
            where="--scheme" if absent else None, allowed=", ".join(shared) or "none",
            next_step="set folds.schemes in params.yaml and dvc repro",
        )  # fmt: skip
    for label, run in (("A", a), ("B", b)):
        alone = [name for name in run.schemes if name not in shared]
        if alone and not wanted:
            notes.append(f"Schemes of {label} only, not compared: {', '.join(alone)}.")
    return [name for name in shared if not wanted or name in wanted]


def averaged_dimensions(
    a: Run, dimensions: Sequence[str], settings: EvaluateParams, metric: str, notes: list[str]
) -> NDArray[np.bool_]:
    """Dimensions of the mean: as in the evaluation, without those that raters do not agree on."""
    if not metric.startswith("pairwise") or a.ratings is None:
        return np.ones(len(dimensions), bool)
    segments = a.manifest.set_index("clip")["segment"]
    table = ceiling.reliability(a.ratings, segments, settings.seed)
    left_out = ceiling.unreliable_dimensions(table, settings.min_within_reliability)
    if left_out:
        notes.append(f"Raters do not agree within segments on {', '.join(left_out)}: left out.")
    return np.array([name not in left_out for name in dimensions])


def _group_notes(a: Run, b: Run) -> list[str]:
    out = []
    for column, count in differing_groups(a, b).items():
        if column == "sha256":
            out.append(f"{count} clips have other files in B than in A, under the same name.")
        else:
            out.append(f"{count} clips have another {column} in B; that of A is used.")
    return out


def scheme_notes(aligned: Aligned, n_pairs: int) -> list[str]:
    """What was left out under one scheme, and whether the folds differ."""
    name, out = scheme_name(aligned.scheme), []
    if left_out := aligned.n_known - len(aligned.design.clips):
        out.append(
            f"{name}: {left_out} of {aligned.n_known} rated clips are left out; they are not in "
            "both runs, or some row did not predict them."
        )
    if not aligned.same_folds:
        out.append(
            f"{name}: the folds differ, so the models were trained on different clips. Clips are "
            "paired all the same; two clips are compared where both runs tested both in one fold."
        )
    if len(aligned.predictions) < n_pairs:
        out.append(f"{name}: {n_pairs - len(aligned.predictions)} rows have no predictions here.")
    return out


def changed_params(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Parameters that differ: dotted name, value in A, value in B (``–`` where it is not set)."""
    one, other = _flat(a), _flat(b)
    names = [*one, *(name for name in other if name not in one)]
    return [
        (name, one.get(name, "–"), other.get(name, "–"))
        for name in names
        if one.get(name) != other.get(name)
    ]


def _flat(block: Mapping[str, Any], above: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in block.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = str(value)
    return found
