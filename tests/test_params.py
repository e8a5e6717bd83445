from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pianoeval.errors import ConfigError
from pianoeval.params_file import load_params, parse_params

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def data() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_shipped_file_is_valid() -> None:
    assert load_params(ROOT / "params.yaml").axes.corpus == ["studio"]


def test_an_unknown_key_lists_the_known_ones(data: dict[str, Any]) -> None:
    data["encoders"]["transkun"]["chunk"] = 5
    with pytest.raises(ConfigError, match=r"encoders\.transkun\.chunk.*chunk_s") as caught:
        parse_params(data)
    assert "edit params.yaml" in str(caught.value)


def test_an_encoder_knows_the_keys_of_its_kind(data: dict[str, Any]) -> None:
    data["encoders"]["transkun"]["n_mels"] = 5
    with pytest.raises(ConfigError, match=r"'encoders\.transkun\.n_mels'") as caught:
        parse_params(data)
    assert "seed" in str(caught.value)
    assert "hop_frames" not in str(caught.value)


def test_an_unknown_kind_of_encoder_lists_the_known_ones(data: dict[str, Any]) -> None:
    data["encoders"]["transkun"]["kind"] = "wav2vec"
    with pytest.raises(ConfigError, match=r"'encoders\.transkun'.*'muq'"):
        parse_params(data)


def test_a_value_out_of_range_names_its_place(data: dict[str, Any]) -> None:
    data["probe"]["mlp"]["dropout"] = 1.5
    with pytest.raises(ConfigError, match=r"probe\.mlp\.dropout.*less than 1"):
        parse_params(data)


@pytest.mark.parametrize("axis", ["corpus", "instrument", "encoder", "features"])
def test_a_name_on_an_axis_needs_its_block(data: dict[str, Any], axis: str) -> None:
    data["axes"][axis] = ["nosuch"]
    with pytest.raises(ConfigError, match=f"axes.{axis} names 'nosuch'"):
        parse_params(data)


def test_contours_come_from_an_instrument_that_is_rendered(data: dict[str, Any]) -> None:
    data["contours"]["instrument"] = "honky_tonk"
    data["axes"]["instrument"] = ["grand"]
    with pytest.raises(ConfigError, match=r"contours\.instrument"):
        parse_params(data)


def test_renders_that_a_run_lacks_are_named_at_once_with_what_mends_them(
    data: dict[str, Any],
) -> None:
    """A run on winds alone leaves both defaults behind; one message names both."""
    data["axes"]["instrument"] = ["winds"]
    with pytest.raises(ConfigError, match=r"contours\.instrument.*report\.instrument") as caught:
        parse_params(data)
    options = "-S contours.instrument=winds -S report.instrument=winds"
    assert (caught.value.next_step or "").endswith(options)
    for block in ("contours", "report"):
        data[block]["instrument"] = "winds"
    assert parse_params(data).report.instrument == "winds"


def test_the_commands_of_the_docs_for_auditions_are_valid(data: dict[str, Any]) -> None:
    for name in ("README.md", "docs/auditions.md", "docs/instruments.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        shown = re.search(r"dvc exp run -S 'axes\.corpus=\[auditions_middle\]'(?:.*\\\n)*.*", text)
        assert shown
        settings = re.findall(r"-S '?([\w.]+)=([^'\s]+)", shown[0].replace("\\\n", " "))
        for key, value in settings:
            *blocks, last = key.split(".")
            place = data
            for block in blocks:
                place = place[block]
            assert last in place, key
            place[last] = yaml.safe_load(value)
        assert parse_params(data).axes.instrument == ["winds"], name


def test_a_missing_file_says_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cd to the project"):
        load_params(tmp_path / "params.yaml")


def test_broken_yaml_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("axes: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_params(path)


def test_yaml_cannot_build_objects(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("axes: !!python/object/apply:os.getcwd []", encoding="utf-8")
    with pytest.raises(ConfigError, match="no tags"):
        load_params(path)


@pytest.mark.parametrize("name", ["lookup", "none", "ceiling", "mel"])
def test_a_view_cannot_take_the_name_of_another_row(data: dict[str, Any], name: str) -> None:
    data["views"]["symbolic"][name] = {"models": ["ridge"]}
    with pytest.raises(ConfigError, match=f"view '{name}'"):
        parse_params(data)


def test_an_axis_names_each_once(data: dict[str, Any]) -> None:
    data["axes"]["instrument"] = ["grand", "grand"]
    with pytest.raises(ConfigError, match=r"axes\.instrument names one twice"):
        parse_params(data)


@pytest.mark.parametrize("name", ["../../x", "evaluated", "a b", ""])
def test_names_become_folders(data: dict[str, Any], name: str) -> None:
    data["corpora"][name] = {"loader": "folder"}
    with pytest.raises(ConfigError, match="cannot be a name"):
        parse_params(data)


def test_every_parameter_stands_in_the_file(data: dict[str, Any]) -> None:
    """A default in code would change numbers that DVC does not know of."""
    full: dict[str, set[str]] = {}
    # A block that came later and stands at its defaults is in no dump, and so in no key.
    later = (("kernel_ridge", "clip"), ("han", "seed"), ("sequence", "pca_above"),
             ("attention", "width"), ("lstm", "width"))  # fmt: skip
    for block, name in later:
        data["probe"][block][name] += 1
    data["probe"]["kernel_ridge"] |= {"huber_deltas": [1.0], "targets": "rank"}
    data["pool"]["sequence_hz"] = 1.0
    for loss in (
        "huber",
        "hybrid",
        "bootstrap",
    ):  # what a loss does not read is in no dump, and so in no key
        data["probe"]["mlp"]["loss"] = loss
        found = parse_params(data).model_dump(mode="json", exclude_unset=False)
        full = {block: full.get(block, set()) | set(_leaves(found[block])) for block in found}
    blocks = "run", "midi", "render", "contours", "pool", "folds", "probe", "evaluate", "report"
    for block in blocks:
        assert full[block] == set(_leaves(data[block])), block


def _leaves(value: Any, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    return [leaf for key, item in value.items() for leaf in _leaves(item, f"{prefix}.{key}")]
