"""Learned weights of layers on the page, and their summary over folds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from beside_cases import make_full_report

from pianoeval.evaluate.diagnostics.layer_weights import layer_weights
from pianoeval.report.data import CorpusReport
from pianoeval.report.layer_weights import layer_tables
from pianoeval.tablefile import write_table


@pytest.fixture(scope="module")
def full() -> CorpusReport:
    return make_full_report(n_clips=60)


def test_one_table_a_view_under_the_headline_scheme(full: CorpusReport) -> None:
    (table,) = layer_tables(full)
    assert (table.view, table.scheme, table.folds) == ("transkun", "movement", 4)
    assert table.equal == "0.500"
    assert table.rows == [("1", "0.250", "0.150 to 0.350"), ("ctx", "0.750", "0.650 to 0.850")]


def test_weights_are_summarised_over_folds(tmp_path: Path) -> None:
    records = [
        {"features": "v", "scheme": "content", "fold": fold, "layer": layer, "weight": weight}
        for fold, weights in enumerate([(0.2, 0.8), (0.4, 0.6)])
        for layer, weight in zip(("9", "10"), weights, strict=True)
    ]
    with_weights, without = tmp_path / "a.parquet", tmp_path / "b.parquet"
    table = pd.DataFrame({"features": ["v"]})
    write_table(table, without)
    table.attrs["layer_weights"] = records
    write_table(table, with_weights)
    found = pd.DataFrame(layer_weights([with_weights, without]))
    assert found["layer"].tolist() == ["9", "10"]
    assert found["mean"].round(6).tolist() == [0.3, 0.7]
    assert found["low"].tolist() == [0.2, 0.6]
    assert found["high"].tolist() == [0.4, 0.8]
    assert layer_weights([without]) == []
