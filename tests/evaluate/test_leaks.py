from __future__ import annotations

import evaluation_cases as cases
import pandas as pd
import pytest

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.leaks import (
    LeakError,
    as_mapping,
    audit,
    make_audited_folds,
    overlap_matrix,
)
from pianoeval.evaluate.splits import SCHEMES, make_folds
from pianoeval.params import FoldParams

PARAMS = FoldParams(schemes=list(SCHEMES))


def test_declared_overlaps_pass_and_are_measured() -> None:
    manifest = cases.manifest()
    found = as_mapping(audit(make_folds(manifest, PARAMS), manifest))
    assert found["segment"]["segment"] == 0
    assert found["segment"]["player"] == 1
    assert found["content"]["content_group"] == 0
    assert found["player"]["segment"] == 1
    assert found["movement"]["movement"] == 0
    # m0 and m1 make up one composition, m2 is alone in its own.
    assert found["movement"]["composition"] == pytest.approx(2 / 3)
    assert all(found["movement_player"][c] == 0 for c in ("movement", "player", "family", "sha256"))


@pytest.mark.parametrize(
    ("scheme", "column"),
    [
        ("content", "content_group"), ("content", "segment"), ("content", "sha256"),
        ("player", "player"), ("movement", "content_group"), ("segment", "family"),
    ],
)  # fmt: skip
def test_a_planted_leak_is_caught(scheme: str, column: str) -> None:
    manifest = cases.manifest()
    folds = make_folds(manifest, PARAMS)
    part = folds[folds["scheme"] == scheme]
    one = part["clip"].iloc[0]
    other = part.loc[part["fold"] != part["fold"].iloc[0], "clip"].iloc[0]
    at, source = (manifest.index[manifest["clip"] == name][0] for name in (one, other))
    if column == "family":
        columns = ["segment", "content_group", "movement", "composition", "player"]
        manifest.loc[at, columns] = manifest.loc[source, columns]
        manifest.loc[at, "parent"] = other
    elif column == "segment":
        manifest.loc[at, ["segment", "content_group"]] = manifest.loc[
            source, ["segment", "content_group"]
        ]
    else:
        manifest.loc[at, column] = manifest.loc[source, column]
    with pytest.raises(LeakError, match=f"under scheme '{scheme}'"):
        audit(part, manifest)
    matrix = overlap_matrix(part, manifest).set_index("column")
    assert matrix.loc[column, "overlap"] > 0


def test_folds_of_another_manifest_are_refused() -> None:
    manifest = cases.manifest()
    folds = make_folds(manifest, PARAMS)
    with pytest.raises(CorruptDataError, match="the manifest lacks"):
        audit(folds, manifest.iloc[1:])
    twice = pd.concat([folds, folds.iloc[:1]])
    with pytest.raises(CorruptDataError, match="tested twice"):
        audit(twice, manifest)


def test_one_content_group_over_two_movements_stops_the_folds() -> None:
    manifest = cases.manifest()
    rows = manifest["content_group"] == "m1_g0"
    manifest.loc[rows, "content_group"] = "m0_g0"
    with pytest.raises(LeakError, match="content_group 'm0_g0'") as error:
        make_audited_folds(manifest, FoldParams(schemes=["content", "movement"]))
    assert "clips m0_s0_p0_t0 and m1_s0_p0_t0" in str(error.value)
    assert "correct the column movement" in str(error.value.next_step)
    sound = cases.manifest()
    pd.testing.assert_frame_equal(make_audited_folds(sound, PARAMS), make_folds(sound, PARAMS))


def test_no_scheme_no_leak() -> None:
    one = cases.manifest(n_movements=1)
    assert make_audited_folds(one, FoldParams(schemes=["movement"])).empty
