"""Tables beside the rows: how alike errors are, and gains by dimension and by category."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pianoeval.ablation.findings import NONE, SAME, verdict
from pianoeval.compare.align import Aligned
from pianoeval.compare.paired import Comparison
from pianoeval.evaluate.diagnostics.error_correlation import error_correlation
from pianoeval.evaluate.diagnostics.judged import Judged, Noise
from pianoeval.evaluate.paired import clip_columns
from pianoeval.evaluate.statistics import ceiling
from pianoeval.evaluate.statistics.significance import benjamini_hochberg
from pianoeval.evaluate.tables import ModelKey, positions
from pianoeval.paper.published import categories, of_dimensions, published
from pianoeval.paper.reading import Reading
from pianoeval.paper.recipes import Recipe

Cell = str | float | int


@dataclass(frozen=True)
class Sheet:
    """A table of plain cells; NaN is what is not known.

    Attributes
    ----------
    name : str
        Of the file it is written to.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Gain:
    """A difference with its adjusted p, as :func:`pianoeval.ablation.findings.verdict` reads it."""

    found: Comparison
    q: float

    @property
    def ci_low(self) -> float:
        return self.found.ci_low

    @property
    def ci_high(self) -> float:
        return self.found.ci_high

    @property
    def smallest_p(self) -> float:
        return self.found.smallest_p


def errors(recipe: Recipe, reading: Reading, schemes: Sequence[str]) -> list[Sheet]:
    """How alike the errors of single models are, and what the labels' noise alone would give.

    Of the rows that are no fusion; one alone has no pair.
    """
    rows = {
        row.ours: row.label for row in recipe.rows
        if row.ours and not row.ours.startswith("fusion") and reading.has(row.ours)
    }  # fmt: skip
    if len(rows) < 2:
        return []
    cells: list[tuple[Cell, ...]] = []
    for scheme in schemes:
        cells += _error_rows(list(rows), reading, scheme, _paper_pair(recipe))
    columns = ("scheme", "one", "other", "r", "low", "high", "noise alone", "beyond noise", "paper")
    return [Sheet("errors", "error correlation (Pearson r of rated − predicted)", columns, cells)]


def _paper_pair(recipe: Recipe) -> set[str]:
    """The models whose errors the paper correlates: audio and the note-sequence model."""
    return {row.ours for row in recipe.rows if row.paper in ("table1.muq", "table1.symbolic")}


def _error_rows(
    rows: Sequence[str], reading: Reading, scheme: str, of_paper: set[str]
) -> list[tuple[Cell, ...]]:
    aligned = reading.aligned(scheme, [(rows[0], row) for row in rows])
    if aligned is None:
        return []
    found = error_correlation(judged(aligned, reading), reading.settings.confidence)
    out: list[tuple[Cell, ...]] = []
    for i, j in combinations(range(len(rows)), 2):
        noise, beyond = (
            math.nan if found[key] is None else _number(found[key][i][j])
            for key in ("label_noise", "beyond_noise")
        )
        paper = published()["fusion.error_correlation"].value
        out.append((
            scheme, rows[i], rows[j], _number(found["matrix"][i][j]),
            _number(found["ci_low"][i][j]), _number(found["ci_high"][i][j]), noise, beyond,
            paper if {rows[i], rows[j]} == of_paper else math.nan,
        ))  # fmt: skip
    return out


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def judged(aligned: Aligned, reading: Reading) -> Judged:
    """Aligned rows as the diagnostics of an evaluation take them."""
    run, names = reading.run, reading.ratings.dimensions
    table = run.manifest.set_index("clip", drop=False).loc[list(aligned.design.clips)]
    models = {other: pair[1] for (_, other), pair in aligned.predictions.items()}
    noise = None
    if run.ratings is not None:
        clips = run.manifest["clip"].tolist()
        raters = ceiling.rater_counts(run.ratings, clips, names)
        segments = run.manifest.set_index("clip")["segment"]
        known = ceiling.reliability(run.ratings, segments, reading.settings.seed).reindex(names)
        noise = Noise(
            known["error_variance"].to_numpy(np.float64),
            known["within_variance"].to_numpy(np.float64),
            raters[positions(clips, aligned.design.clips)],
        )
    ranked: NDArray[np.bool_] = np.ones(len(names), bool)
    return Judged(
        names, table.reset_index(drop=True), aligned.design, aligned.y, models, ranked, noise
    )


def over_clips(recipe: Recipe, reading: Reading, schemes: Sequence[str]) -> list[Sheet]:
    """The paper's tests, which take clips as independent, beside those that do not.

    Of audio against the note-sequence model, else against the symbolic features.
    """
    audio = next(row.ours for row in recipe.rows if row.paper == "table1.muq")
    others = [row.ours for row in recipe.rows if row.paper == "table1.symbolic" and row.ours]
    others += [row.ours for row in recipe.rows if row.ours.startswith("symbolic/")]
    other = next((row for row in others if reading.has(row)), "")
    found = [
        (scheme, reading.aligned(scheme, [(other, audio)]))
        for scheme in schemes if other and reading.has(audio)
    ]  # fmt: skip
    cells = [
        (scheme, audio, other, *_tests(aligned, (other, audio), reading))
        for scheme, aligned in found if aligned is not None
    ]  # fmt: skip
    names = ("t_p", "wilcoxon_p", "cohen_d")
    printed = [published()[f"table1.{name}"].value for name in names]
    note = (
        f"The paper: |t| = {-published()['table1.t'].value:g}, p = {printed[0]:g}, Wilcoxon "
        f"p = {printed[1]:g}, Cohen's d = {printed[2]:g}: over clips, as if independent. 'p' "
        "exchanges whole content groups; 'ahead' counts movements where they are held out."
    )
    columns = ("scheme", "this", "other", "t (clips)", "p (clips)", "Wilcoxon p", "Cohen's d", "Δ",
               "p", "ahead", "of")  # fmt: skip
    title = "tests over clips, and over groups"
    return [Sheet("tests", title, columns, list(cells), [note])] if cells else []


def _tests(aligned: Aligned, pair: tuple[str, str], reading: Reading) -> tuple[Cell, ...]:
    """Of the second model against the first; t is positive where the second errs less."""
    one, other = aligned.predictions[pair]
    models = {ModelKey("", pair[1], None): other, ModelKey("", pair[0], None): one}
    clips = clip_columns(aligned.y, models, np.array([0], np.intp), np.array([1], np.intp))
    own = reading.of(aligned, np.ones(aligned.y.shape[1], bool))
    names = ("t_clip", "p_t_clip", "p_wilcoxon_clip", "cohen_d_clip")
    return (
        *(float(np.ravel(clips[name])[0]) for name in names), own.difference, own.p_permutation,
        own.n_units_ahead, own.n_units,
    )  # fmt: skip


def gains(recipe: Recipe, reading: Reading, schemes: Sequence[str]) -> list[Sheet]:
    """What the first row gains over each other one, by dimension and by category."""
    first, *others = (row for row in recipe.rows if row.ours and reading.has(row.ours))
    sheets = []
    for other in others:
        parts: dict[str, list[tuple[Cell, ...]]] = {"dimension": [], "category": []}
        for scheme in schemes:
            aligned = reading.aligned(scheme, [(other.ours, first.ours)])
            if aligned is None:
                continue
            with_paper = other.paper == "dimensions.symbolic_mean"
            for kind, masks in _masks(reading).items():
                parts[kind] += _gain_rows(scheme, aligned, masks, reading, with_paper)
        for kind, rows in parts.items():
            sheets.append(
                Sheet(
                    f"{kind}-{other.ours.replace('/', '-')}",
                    f"gain of {first.ours} over {other.ours} by {kind}",
                    ("scheme", kind, "this", "other", "gain", "low", "high", "p", "q", "verdict",
                     "paper's gain"), rows, _counted(rows),
                )
            )  # fmt: skip
    return sheets


def _masks(reading: Reading) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Dimensions of the corpus alone, and together as the paper's categories."""
    names = reading.ratings.dimensions
    order = [str(name) for name in dict.fromkeys(reading.run.labels["dimension"])]
    alone = {name: np.array([n == name for n in names]) for name in order if name in names}
    groups = {
        name: np.array([n in members for n in names]) for name, members in categories().items()
    }
    return {"dimension": alone, "category": {k: m for k, m in groups.items() if m.any()}}


def _gain_rows(
    scheme: str, aligned: Aligned, masks: dict[str, NDArray[np.bool_]], reading: Reading,
    with_paper: bool,
) -> list[tuple[Cell, ...]]:  # fmt: skip
    found = {name: reading.of(aligned, mask) for name, mask in masks.items()}
    tested = [name for name, one in found.items() if not one.same]
    adjusted = benjamini_hochberg(np.array([found[name].p_permutation for name in tested]))
    q = dict(zip(tested, map(float, adjusted), strict=True))
    paper = of_dimensions("dimensions") if with_paper else {}
    out: list[tuple[Cell, ...]] = []
    for name, one in found.items():
        said = SAME
        if name in q:
            said = verdict(_Gain(one, q[name]), reading.settings.confidence)
        printed = paper[name].value if name in paper else math.nan
        out.append((
            scheme, name, one.value_b, one.value_a, one.difference, one.ci_low, one.ci_high,
            one.p_permutation, q.get(name, math.nan), said, printed,
        ))  # fmt: skip
    return sorted(out, key=lambda row: -float(row[4]) if math.isfinite(float(row[4])) else 9.0)


def _counted(rows: Sequence[tuple[Cell, ...]]) -> list[str]:
    """In how many the first row is ahead, and for how many that is shown."""
    notes = []
    for scheme in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == scheme]
        ahead = sum(float(row[4]) > 0 for row in own)
        shown = {word: sum(row[9] == word for row in own) for word in ("better", "worse", NONE)}
        notes.append(
            f"{scheme}: ahead in {ahead} of {len(own)}; shown better in {shown['better']}, worse "
            f"in {shown['worse']}, no difference shown in {shown[NONE]}."
        )
    return notes
