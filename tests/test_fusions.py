"""Fusion views in the parameters: names, members, what is left out, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from workspaces import ROOT, small_params

from pianoeval.errors import ConfigError, MissingAssetError
from pianoeval.evaluate.state import row_hashes
from pianoeval.evaluate.tables import ModelKey
from pianoeval.fusions import Member, member_of, predicted_sources, usable_fusions
from pianoeval.joins import join_predictions
from pianoeval.params_file import load_params, parse_params
from pianoeval.paths import CorpusPaths
from pianoeval.report import words

MEMBERS = ["symbolic/ridge", "mel/ridge"]


def with_fusion(
    name: str = "fusion", members: list[str] | None = None, methods: list[str] | None = None
) -> dict[str, Any]:
    block = {"members": members or MEMBERS, "methods": methods or ["average", "stacked"]}
    return small_params() | {"fusion": {"views": {name: block}}}


def test_a_member_is_a_view_and_one_of_its_models() -> None:
    data = with_fusion()
    data["views"]["mel"]["mel-quiet"] = {"models": ["ridge", "boosting"], "level": False}
    params = parse_params(data)
    assert member_of(params, "mel-quiet/boosting") == Member("mel", "mel-quiet", "boosting")
    assert member_of(params, "mel-quiet/boosting").name == "mel-quiet/boosting"
    for absent in ("mel/boosting", "mel", "mel/", "none/ridge", "mel/ridge/1"):
        assert member_of(params, absent) is None


def test_the_shipped_fusion_can_be_used() -> None:
    params = load_params(ROOT / "params.yaml")
    usable, left_out = usable_fusions(params)
    assert list(usable) == ["fusion"]
    assert not left_out
    assert predicted_sources(params) == [*params.axes.features, "fusion"]


@pytest.mark.parametrize("features", [["symbolic"], ["mel"]])
def test_an_axis_that_is_cut_down_leaves_a_fusion_out(features: list[str]) -> None:
    data = with_fusion()
    data["axes"]["features"] = features
    params = parse_params(data)
    usable, left_out = usable_fusions(params)
    assert not usable
    assert "not on axes.features" in left_out["fusion"]
    assert predicted_sources(params) == features


def test_so_does_an_ablation_that_keeps_one_model_of_one_view() -> None:
    """It takes other models and views away, of its own features and of no others."""
    data = with_fusion()
    data["axes"]["features"] = ["mel"]
    data["views"]["mel"] = {"other": {"models": ["boosting"]}}
    data["rank"] = {}  # its rankers would be faults: unlike a fusion, they name no features
    assert not usable_fusions(parse_params(data))[0]


@pytest.mark.parametrize(
    ("changes", "text", "allowed"),
    [
        ({"name": "both"}, "not the name of a fusion", "begin with 'fusion'"),
        ({"members": ["mel/ridge", "mel/ridge"]}, "named twice", "once"),
        ({"members": ["mel/ridge", "meel/ridge"]}, "no view of 'meel/ridge'", "symbolic, mel"),
        ({"members": ["mel/ridge", "symbolic/mlp"]}, "no model of 'symbolic/mlp'", "ridge"),
        ({"members": ["mel/ridge"]}, "at least 2 items", ""),
        ({"methods": ["sum"]}, "methods", ""),
    ],
)
def test_what_cannot_be_fused_is_refused(changes: dict[str, Any], text: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_params(with_fusion(**changes))
    assert text in str(caught.value)
    assert allowed in str(caught.value)


def test_gated_needs_two_views() -> None:
    data = with_fusion(members=["mel/ridge", "mel/boosting"], methods=["gated"])
    data["views"]["mel"]["mel"]["models"] = ["ridge", "boosting"]
    with pytest.raises(ConfigError, match="gated needs members of two views"):
        parse_params(data)


def test_names_cannot_be_mistaken() -> None:
    data = with_fusion()
    data["views"]["mel"]["fusion-mel"] = {"models": ["ridge"]}
    with pytest.raises(ConfigError, match="that of a fusion"):
        parse_params(data)
    for name in ("fusion", "fusion-all"):
        key = ModelKey(name, "stacked", 0)
        assert key.is_fusion
        assert not key.is_symbolic
        assert not key.is_control
        assert words.kind(name) == "fusion"
    assert words.kind("mel") == "audio"
    assert words.named("fusion/stacked") == "stacked on fusion"


def test_the_hash_of_a_fusion_is_that_of_all_it_depends_on() -> None:
    def hashes(data: dict[str, Any]) -> dict[str, str]:
        return row_hashes(parse_params(data), "studio", ["symbolic", "mel", "fusion"])

    before = hashes(with_fusion())
    assert len(set(before.values())) == 4
    for change in ("member", "methods", "penalties"):
        data = with_fusion()
        if change == "member":
            data["views"]["mel"]["mel"]["level"] = False
        elif change == "methods":
            data["fusion"]["views"]["fusion"]["methods"] = ["stacked"]
        else:
            data["fusion"]["penalties"] = [1.0]
        after = hashes(data)
        assert after["fusion"] != before["fusion"]
        assert after["symbolic"] == before["symbolic"]
        assert (after["mel"] != before["mel"]) == (change == "member")


def test_rows_without_a_fusion_keep_their_hashes() -> None:
    plain, fused = parse_params(small_params()), parse_params(with_fusion())
    of_plain = row_hashes(plain, "studio", ["symbolic", "mel"])
    assert of_plain.items() <= row_hashes(fused, "studio", ["symbolic", "mel", "fusion"]).items()


def test_an_absent_file_of_fusions_is_named(tmp_path: Path) -> None:
    paths, params = CorpusPaths("studio", tmp_path), parse_params(with_fusion())
    for path in (paths.features("symbolic"), paths.pooled("mel", "grand")):
        path.mkdir(parents=True)
        (path / "file").touch()
    paths.predictions("mel").parent.mkdir()
    for name in params.axes.features:
        paths.predictions(name).touch()
    with pytest.raises(MissingAssetError, match="1 of 3 inputs") as caught:
        join_predictions(paths, params)
    assert "predictions/fusion.parquet" in str(caught.value)
    join_predictions(paths, parse_params(small_params()))
    paths.predictions("fusion").touch()
    join_predictions(paths, params)


def test_parameters_without_the_block_are_read() -> None:
    data = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    del data["fusion"]
    assert not parse_params(data).fusion.views
