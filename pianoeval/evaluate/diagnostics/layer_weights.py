"""What the weighted sum of ``layer_mlp`` came to rely on, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pianoeval.evaluate.diagnostics.jsonable import number
from pianoeval.tablefile import read_table

_RECORDS = "layer_weights"  # attribute of a predictions file


def layer_weights(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Weights of layers, summarised over folds.

    Parameters
    ----------
    files : sequence of Path
        Tables of predictions; those without such a model contribute nothing.

    Returns
    -------
    list of dict
        ``view, scheme, layer, mean, low, high, folds``: mean, smallest and largest weight over
        folds, in the order of the layers. The weights of a fold sum to one.
    """
    records = [row for path in files for row in read_table(path).attrs.get(_RECORDS, [])]
    out = []
    table = pd.DataFrame(records, columns=["features", "scheme", "fold", "layer", "weight"])
    for (view, scheme, layer), part in table.groupby(["features", "scheme", "layer"], sort=False):
        weight = part["weight"].astype(float)
        out.append(
            {
                "view": str(view), "scheme": str(scheme), "layer": str(layer),
                "mean": number(weight.mean()), "low": number(weight.min()),
                "high": number(weight.max()), "folds": len(part),
            }
        )  # fmt: skip
    return out
