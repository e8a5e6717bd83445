"""Tables as overrides: DVC and the parameters accept them, and each is what it says."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from hypothesis import given, settings
from hypothesis import strategies as st
from workspaces import ROOT

from pianoeval.ablation.overrides import apply, replace
from pianoeval.corpora.percepiano_names import DIMENSIONS
from pianoeval.errors import ConfigError
from pianoeval.fusions import usable_fusions
from pianoeval.paper import words
from pianoeval.paper.published import categories, of_dimensions, published
from pianoeval.paper.recipes import SCHEMES, Choice
from pianoeval.paper.runs import cost, experiment_of, merge, params_text
from pianoeval.paper.tables import TABLES, recipe_of
from pianoeval.params_file import parse_params
from tests.paper import paper_cases as cases

PAPER = ROOT.parent / "shared" / "papers" / "audio_foundation_models_2026.md"
EVERY = Choice(corpus="studio", audio=("muq", "mert", "muq_random"))


@pytest.mark.parametrize("audio", [("transkun",), ("muq", "mert", "muq_random")])
@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_accepted(name: str, audio: tuple[str, ...]) -> None:
    """Through DVC's own code and through the parameters; views are replaced, not merged."""
    made = cases.recipe(name, Choice(corpus="studio", audio=audio))
    params, plain = apply(cases.DATA, made.overrides(cases.DATA))
    assert params.axes.corpus == ["studio"]
    assert params.folds.schemes == list(SCHEMES)
    for features, block in made.views.items():
        assert features in params.axes.features
        assert plain["views"][features] == block
    assert set(params.axes.features) == set(made.views)
    assert params.axes.encoder == [name for name in made.views if name in params.encoders]
    assert params.report.instrument in params.axes.instrument
    assert params.contours.instrument in params.axes.instrument
    pooled = set(params.pool.stats)
    for features in params.axes.encoder:
        for view in params.views[features].values():
            assert "ensemble" not in view.models or set(params.probe.ensemble) <= set(view.models)
            assert set(view.stats) <= pooled
            assert set(view.instruments) <= set(params.axes.instrument)
            assert view.instruments
    for view in params.views["symbolic"].values() if "symbolic" in made.views else ():
        assert "ensemble" not in view.models or set(params.probe.ensemble) <= set(view.models)
    usable, left_out = usable_fusions(params)
    assert not left_out
    assert set(usable) == set(params.fusion.views)
    assert cases.PARAMS.rank.rankers  # of views that may not be here
    assert params.rank.rankers == {}
    assert cases.PARAMS.contrast.heads
    assert params.contrast.heads == {}


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_trained_by_its_own_table(name: str) -> None:
    made = cases.recipe(name, EVERY)
    labels = [row.label for row in made.rows]
    assert len(set(labels)) == len(labels)
    trained = {f"{v}/{m}" for b in made.views.values() for v, f in b.items() for m in f["models"]}
    fused = made.settings.get("fusion.views", {})
    trained |= {f"{view}/{method}" for view, f in fused.items() for method in f["methods"]}
    for row in made.rows:
        for ours in (row.ours, *row.parts):
            base, _, model = ours.partition("/")
            assert not ours or f"{base.partition(':')[0]}/{model}" in trained
        assert row.ours or row.parts or row.needs
        assert not row.against or row.against in labels
        assert not row.paper or row.paper in published()


def test_what_is_printed_is_in_the_paper() -> None:
    """Every number of ours stands in the paper's text."""
    if not PAPER.is_file():
        pytest.skip("the paper's text is not here")
    text = PAPER.read_text(encoding="utf-8").replace(",", "")
    for key, one in published().items():
        for value in (one.value, one.low, one.high, one.sd):
            if value != value or key.endswith("_p"):
                continue
            shown = {f"{abs(value):.3f}", f"{abs(value):.2f}", f"{abs(value):g}"}
            assert any(form in text for form in shown), (key, value)


def test_categories_hold_the_nineteen_dimensions() -> None:
    listed = [name for names in categories().values() for name in names]
    assert sorted(listed) == sorted(one.name for one in DIMENSIONS)
    assert set(of_dimensions("dimensions")) < set(listed)
    assert of_dimensions("dimensions")["timing"].value == 0.368


def test_the_first_encoder_stands_for_muq() -> None:
    made = cases.recipe("table1", Choice(corpus="studio", audio=("mert", "muq")))
    ours = {row.label: row.ours for row in made.rows}
    assert ours["MuQ L9–12"] == "muq-mean/mlp"
    assert ours["MERT L7–12"] == "mert-mean/mlp"
    assert made.views["muq"]["muq-mean"]["layers"] == "9..12"
    assert made.views["mert"]["mert-mean"]["layers"] == "7..12"
    alone = cases.recipe("table1", Choice(corpus="studio"))
    (mert,) = [row for row in alone.rows if row.label == "MERT L7–12"]
    assert mert.ours == ""
    assert "pianoeval encoder get mert" in mert.needs


def test_layers_of_the_paper() -> None:
    made = cases.recipe("table2", EVERY)
    views = {name: fields for block in made.views.values() for name, fields in block.items()}
    layers = {
        row.paper: views[row.ours.partition("/")[0]]["layers"]
        for row in made.rows
        if row.paper and row.ours
    }
    assert layers == {
        "table2.muq_early": "1..4", "table2.muq_mid": "5..8", "table2.muq_late": "9..12",
        "table2.muq_all": "1..12", "table2.mert_early": "1..6", "table2.mert_mid": "7..12",
    }  # fmt: skip
    thirds = cases.recipe("table2", Choice(corpus="studio"))
    assert thirds.views["transkun"]["transkun-late"]["layers"] == "5..6"
    with pytest.raises(ConfigError, match="one layer"):
        cases.recipe("table2", Choice(corpus="studio", audio=("mel",)))


def test_one_render_is_heard_unless_a_row_is_about_several() -> None:
    made = cases.recipe("soundfonts")
    views = made.views["transkun"]
    assert views["transkun-mean"]["instruments"] == ["grand"]
    assert views["transkun-renders"]["instruments"] == list(cases.CHOICE.instruments)
    assert views["transkun-renders"]["renders"] == "each"
    assert cases.recipe("losses").settings["axes.instrument"] == ["grand"]
    single = Choice(corpus="studio", instruments=("upright",))
    with pytest.raises(ConfigError, match="there is one"):
        cases.recipe("soundfonts", single)
    row = next(r for r in cases.recipe("table1", single).rows if "instruments" in r.label)
    assert row.ours == ""
    assert "--instrument upright" in row.needs


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(corpus="nowhere"), "--corpus"),
        (Choice(corpus="studio", audio=("whale",)), "--audio"),
        (Choice(corpus="studio", instruments=("organ",)), "--instrument"),
    ],
)
def test_what_is_not_known_is_refused(choice: Choice, message: str) -> None:
    with pytest.raises(ConfigError, match="is not known") as error:
        cases.recipe("table1", choice)
    assert error.value.where == message
    with pytest.raises(ConfigError, match="no table 'table9'"):
        recipe_of("table9", cases.PARAMS, cases.DATA, cases.CHOICE)
    with pytest.raises(ConfigError, match="is not known"):
        cases.recipe("difficulty", dataclasses.replace(cases.CHOICE, target="nowhere"))


def test_beyond_is_what_the_parameters_say() -> None:
    """A fusion view called fusion-beyond… gives the rows; its members' views are as they stand."""
    data = json.loads(json.dumps(cases.DATA))
    data["views"]["mel"]["mel-x"] = {"stats": ["max"], "models": ["ridge", "mlp"]}
    data["views"]["symbolic"]["beyond-1"] = {"models": ["ridge", "mlp"]}
    members = ["symbolic/ridge", "mel-x/mlp"]
    block = {"members": members, "methods": ["stacked"]}
    data["fusion"]["views"] = {"fusion-beyond-1": block, "fusion": block}
    made = recipe_of("beyond", cases.PARAMS, data, cases.CHOICE)
    assert [row.ours for row in made.rows] == [
        "symbolic/ensemble", *members, "fusion-beyond-1/stacked", "beyond-1/ridge", "beyond-1/mlp",
    ]  # fmt: skip
    view = made.views["mel"]["mel-x"]
    assert view == {"stats": ["max"], "instruments": ["grand"], "models": ["mlp"]}
    assert made.settings["fusion.views"] == {"fusion-beyond-1": block}
    apply(data, made.overrides(data))
    data["fusion"]["views"]["fusion-beyond-1"]["members"] = ["symbolic/ridge", "nothing/mlp"]
    with pytest.raises(ConfigError, match="no view of params"):
        recipe_of("beyond", cases.PARAMS, data, cases.CHOICE)


def test_all_tables_fit_one_workspace() -> None:
    """One set of parameters that holds every view and axis of all tables."""
    recipes = [cases.recipe(name) for name in TABLES]
    chosen = parse_params(yaml.safe_load(params_text(recipes, cases.DATA, ["evaluate.seed=7"])))
    assert chosen.evaluate.seed == 7
    for made in recipes:
        for features, block in made.views.items():
            assert features in chosen.axes.features
            for name, fields in block.items():
                view = chosen.views[features][name]
                assert set(fields["models"]) <= set(view.models)
                assert view.layers == fields.get("layers", view.layers)
        for key in made.settings.get("fusion.views", {}):
            assert key in chosen.fusion.views
    other = dataclasses.replace(
        recipes[0], settings={**recipes[0].settings, "report.instrument": "x"}
    )
    with pytest.raises(ConfigError, match="two tables want other values"):
        merge([recipes[0], other])


def test_an_experiment_is_named_by_what_it_runs(tmp_path: Path) -> None:
    """The same table has the same name; another seed another one; `report` is what is run."""
    for name in ("pianoeval", "stages"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.py").touch()
    (tmp_path / "dvc.yaml").touch()
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    made = cases.recipe("losses")
    one = experiment_of(made, cases.DATA, tmp_path)
    assert one.name.startswith("paper-losses-")
    assert one.name == experiment_of(made, cases.DATA, tmp_path).name
    other = experiment_of(made, cases.DATA, tmp_path, ["evaluate.seed=7"])
    assert one.name != other.name
    assert other.command("--temp")[-3:] == ["-S", "evaluate.seed=7", "report"]
    transfer = experiment_of(cases.recipe("difficulty"), cases.DATA, tmp_path)
    assert transfer.command()[-1] == "transfer@asap"
    lock = "stages:\n  target@asap:\n    outs:\n    - {path: data/asap/clips, md5: one}\n"
    (tmp_path / "dvc.lock").write_text(lock)
    assert experiment_of(cases.recipe("difficulty"), cases.DATA, tmp_path).name != transfer.name
    assert experiment_of(made, cases.DATA, tmp_path).name == one.name


def test_cost_counts_fits_and_what_is_not_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    made = cases.recipe("losses", Choice(corpus="studio", audio=("mel",)))
    found = cost(made, cases.DATA)
    n_models = sum(len(v["models"]) for block in made.views.values() for v in block.values())
    assert found.fits == n_models * 2 * cases.PARAMS.folds.n_folds
    fused = cases.recipe("fusion", Choice(corpus="studio", audio=("mel",)))
    n_models = sum(len(v["models"]) for block in fused.views.values() for v in block.values())
    assert cost(fused, cases.DATA).fits == (n_models + 4 * 4) * 8  # four members, four inner folds
    assert found.items > 0  # an empty cache holds none of the clips
    assert not any("contours" in stage for stage in found.stages)
    assert f"{found.items:,} items" in found.text


def test_cost_counts_every_training_on_renders_and_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ridge on one render; on both, without each, and on each alone. ASAP has not been ingested."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    two = Choice(corpus="studio", audio=("mel",), instruments=("grand", "upright"))
    found = cost(cases.recipe("soundfonts", two), cases.DATA)
    assert found.fits == (1 + 1 + 2 * 2) * 2 * cases.PARAMS.folds.n_folds
    assert not found.unknown
    asked = cost(cases.recipe("difficulty", two), cases.DATA)
    assert asked.unknown == ["asap"]
    assert asked.encodes
    assert "all clips of asap" in asked.text
    assert "nothing is encoded" not in asked.text


def test_words_name_nothing_twice() -> None:
    said = [text for name in dir(words) if name.isupper() for text in getattr(words, name)]
    assert len(set(said)) == len(said)


names = st.text("abcdefghij-_", min_size=1, max_size=6).filter(lambda s: s[0].isalpha())
leaves = st.one_of(
    st.booleans(), st.integers(-99, 99), st.text("ab1..é ,:{}[]'\"", max_size=8),
    st.lists(st.text("ab19.,", max_size=4), max_size=3),
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(names, st.dictionaries(names, leaves, min_size=1), min_size=1, max_size=3))
def test_blocks_survive_hydra(block: dict[str, dict[str, object]]) -> None:
    """A block is written so that DVC reads the same again, whatever its texts are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.json"
        path.write_text(json.dumps({"views": {"old": {"x": 1}}}), encoding="utf-8")
        apply_overrides(str(path), replace({"views": {"old": {"x": 1}}}, "views", block))
        assert json.loads(path.read_text(encoding="utf-8"))["views"] == block
    assert replace({"views": block}, "views", block) == []
