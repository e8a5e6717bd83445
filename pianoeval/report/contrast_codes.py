"""Codes of heads on the page: maps, and how far classes lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from pianoeval.report import words
from pianoeval.report.contrast_figures import class_map, heat
from pianoeval.report.figures import Figure

_SURFACES = 3  # dimensions of which surfaces are drawn


def maps(table: pd.DataFrame | None, order: Sequence[str], ident: str) -> Iterator[Figure]:
    """One map a dimension and head."""
    if table is None or table.empty:
        return
    number = 0
    for dimension in dict.fromkeys(table["dimension"]):
        own = table[table["dimension"] == dimension]
        for head in [name for name in order if name in set(own["head"])]:
            points = own[own["head"] == head]
            first = points.iloc[0]
            aside = (
                f"{words.scheme_name(first['scheme'])} fold {words.count(first['fold'])}, seed "
                f"{words.count(first['seed'])}, perplexity {first['perplexity']:g}"
            )
            caption = f"{head}, {words.plain(str(dimension))}"
            yield class_map(points, int(first["bins"]), caption, f"{ident}{number}", aside)
            number += 1


def surfaces(
    table: pd.DataFrame | None, known: pd.DataFrame, order: Sequence[str], ident: str
) -> Iterator[tuple[str, list[Figure]]]:
    """Relative distances of classes in the first scheme: (dimension, a figure a head)."""
    if table is None or table.empty:
        return
    scheme = min(set(table["scheme"]), key=words.scheme_rank)
    own = table[table["scheme"] == scheme]
    of_order = known[(known["metric"] == "surface_order") & (known["statistic"] == "mean")]
    rho = of_order[of_order["scheme"] == scheme].set_index(["head", "dimension"])["value"]
    for d, dimension in enumerate(list(dict.fromkeys(own["dimension"]))[:_SURFACES]):
        part = own[own["dimension"] == dimension]
        top = float(part["relative"].max())
        figures = []
        for h, head in enumerate(name for name in order if name in set(part["head"])):
            lines = part[part["head"] == head]
            bins = int(lines["bins"].iloc[0])
            values = np.full((bins, bins), np.nan)
            np.fill_diagonal(values, 0.0)
            for a, b, far in lines[["class_a", "class_b", "relative"]].itertuples(index=False):
                values[int(a), int(b)] = values[int(b), int(a)] = far
            value = rho.get((head, dimension))
            figures.append(heat(
                values, [str(i) for i in range(bins)], [str(i) for i in range(bins)], head,
                f"{ident}{d}-{h}", axes=("class", "class"), limits=(0.0, top),
                aside=f"order ρ {words.number(value, 2)}",
            ))  # fmt: skip
        yield f"{words.plain(str(dimension))}, {words.scheme_name(scheme)} folds", figures
