"""The model card: valid front matter, the numbers of the results, and what they do not show."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard
from report_cases import DIMENSIONS, make_report

from pianoeval.errors import BadInputError, ConfigError
from pianoeval.report import CorpusReport
from pianoeval.report.card import model_card
from pianoeval.report.scores import metric_table

VIEW = "transkun-4"


def make_config(report: CorpusReport, **changes: Any) -> dict[str, Any]:
    rows = report.results[(report.results["features"] == VIEW)]
    return {
        "name": f"{report.corpus} {VIEW} ridge",
        "view": VIEW,
        "model": "ridge",
        "task": report.task,
        "dimensions": [
            {"name": name, "low_pole": low, "high_pole": high, "higher_is_better": None,
             "label_range": [0.2, 0.9]}
            for name, (low, high) in DIMENSIONS.items()
        ],
        "inputs": {
            "source": "transkun", "layers": ["4"], "stats": ["mean", "std"],
            "instruments": ["grand"], "level": ["rms"],
            "encoder": {"weights_sha256": "50a80010effc2a59", "precision": "float32"},
        },
        "ridge": {"lambda": [300.0, 300.0], "chosen_on": "content_group", "grid": [300.0]},
        "corpus": {
            "name": report.corpus, "versions": ["e672299"], "clips": 1202, "recorded": 0,
            "groups": {"segment": 99, "content_group": 45, "movement": 4, "composition": 3,
                       "player": 34},
            "licences": [{"licence": "MIT", "redistributable": True, "clips": 1202}],
        },
        "assets": [{"name": "transkun-2.0", "note": "Transkun 2.0 weights", "licence": "MIT",
                    "sha256": "50a8"}],
        "pianoeval": "0.1.0", "commit": "abc", "config_hash": rows["config_hash"].iloc[0],
    } | changes  # fmt: skip


@pytest.fixture(scope="module")
def report() -> CorpusReport:
    return make_report()


@pytest.fixture(scope="module")
def card(report: CorpusReport) -> str:
    return model_card(make_config(report), report)


def front(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_hugging_face_reads_the_front_matter(card: str, report: CorpusReport) -> None:
    parsed = ModelCard(card)
    assert parsed.data.license == "mit"
    assert parsed.data.library_name == "pianoeval"
    assert parsed.data.datasets == [report.corpus]
    assert parsed.data.metrics == ["r_squared", "pairwise_accuracy", "spearmanr"]
    found = {(e.dataset_config, e.metric_type): e for e in parsed.data.eval_results}
    assert len(found) == len(parsed.data.eval_results)
    for metric, kind in (("r2_pooled", "r_squared"), ("pairwise_005", "pairwise_accuracy")):
        table = metric_table(report, metric)
        assert table.schemes
        for scheme in table.schemes:
            [own] = [s for s in table.scores(scheme) if s.key == f"{VIEW}/ridge"]
            entry = found[scheme, kind]
            assert entry.metric_value == pytest.approx(own.value, abs=5e-5)
            assert entry.metric_args["ci_low"] == pytest.approx(own.low, abs=5e-5)
            assert "out of fold, same recipe" in entry.metric_name
    assert ModelCard(str(parsed)).data.to_dict() == parsed.data.to_dict()


def test_the_table_has_value_interval_baseline_and_ceiling(card: str, report: CorpusReport) -> None:
    table = metric_table(report, "r2_pooled")
    [own] = [s for s in table.scores("movement") if s.key == f"{VIEW}/ridge"]
    baseline = max(s.value for s in table.scores("movement") if s.kind in ("lookup", "mean"))
    ceiling = table.ceiling("movement")
    assert ceiling is not None
    [line] = [row for row in card.splitlines() if row.startswith("| movement | ")][:1]
    cells = [cell.strip().replace("−", "-") for cell in line.strip("|").split("|")]
    assert cells[2] == f"{own.value:.3f} ({own.low:.3f} to {own.high:.3f})"
    assert cells[3].startswith(f"{baseline:.3f}, ")
    assert cells[4] == f"{ceiling.value:.3f}, ICC(1,k)"
    assert "not of these weights" in card


def test_every_table_row_has_the_cells_of_its_heading(card: str) -> None:
    """A name with a bar would shift all that follows."""
    width = None
    for line in card.splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert width in (None, cells), line
        width = cells


def test_foreign_text_cannot_become_markup(report: CorpusReport) -> None:
    config = make_config(report)
    config["dimensions"][0]["low_pole"] = "a | b\n# <img src=x> [c](d)"
    config["corpus"]["licences"][0]["licence"] = "mine: *all* | rights\n---\nlicense: mit"
    card = model_card(config, report)
    test_every_table_row_has_the_cells_of_its_heading(card)
    assert "<img" not in card.replace("\\<img", "")
    assert ModelCard(card).data.license == "other"
    assert not re.search(r"^(# <|license: mit)", card, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (["MIT"], {"license": "mit"}),
        (["CC BY-SA 4.0"], {"license": "cc-by-sa-4.0"}),
        (["unknown"], {"license": "other", "license_name": "unknown"}),
        (["free for research, ask us"],
         {"license": "other", "license_name": "free-for-research-ask-us"}),
        (["MIT", "CC0-1.0"], {"license": "other", "license_name": "several-see-the-card"}),
        (["MIT-ish, mostly"], {"license": "other", "license_name": "mit-ish-mostly"}),
        ([" "], {"license": "other", "license_name": "not-stated"}),
    ],
)  # fmt: skip
def test_a_licence_is_never_invented(
    report: CorpusReport, licences: list[str], expected: dict[str, str]
) -> None:
    config = make_config(report)
    config["corpus"]["licences"] = [
        {"licence": text, "redistributable": True, "clips": 5} for text in licences
    ]
    found = front(model_card(config, report))
    assert {k: v for k, v in found.items() if k.startswith("license")} == expected


def test_a_non_commercial_encoder_bars_the_licence_of_the_corpus(
    report: CorpusReport, card: str
) -> None:
    assert "commercial" not in card.replace("Not for", "")
    config = make_config(report)
    config["assets"].append(
        {"name": f"OpenMuQ/MuQ-large-msd-iter@{'b' * 40}", "licence": "CC BY-NC 4.0",
         "note": "weights of the frozen encoder muq, digest 0123456789ab", "sha256": "01"}
    )  # fmt: skip
    found = model_card(config, report)
    assert front(found)["license"] == "other"
    assert front(found)["license_name"] == "non-commercial-encoder-see-the-card"
    [row] = [line for line in found.splitlines() if line.startswith("| OpenMuQ/")]
    assert "b" * 40 in row
    assert "CC BY-NC 4.0" in row
    assert "digest 0123456789ab" in row
    assert "whose licence forbids commercial use" in found
    ModelCard(found)


def test_limits_and_use_are_told(card: str, report: CorpusReport) -> None:
    assert "4 movements of 3 compositions" in card
    assert "Not for judging people" in card
    assert "models were compared on these folds" in card
    assert "Whether a licence of training data extends to weights is not settled" in card
    assert "may not be passed on" not in card
    assert "simulated" not in card
    config = make_config(report)
    config["corpus"]["licences"][0]["redistributable"] = False
    assert "ask before publishing" in model_card(config, report)


def test_a_simulated_corpus_says_so_first() -> None:
    report = make_report("studio", n_clips=144, shift=0.1, simulated=True)
    card = model_card(make_config(report), report)
    assert card.index("**The labels of this corpus are simulated.**") < card.index("## What")
    assert "What it learned says nothing about how people play." in card
    assert "1.000, exact labels" in card


@pytest.mark.parametrize(
    ("method", "sentence", "warned"),
    [
        ("content×player", "content groups and players were both resampled", False),
        ("content", "content groups were resampled (BCa bootstrap); players were not", True),
    ],
)
def test_intervals_are_described_by_their_method(
    report: CorpusReport, method: str, sentence: str, warned: bool
) -> None:
    results = report.results.assign(interval=method)
    card = model_card(make_config(report), CorpusReport(report.corpus, results, report.summary))
    assert sentence in card
    assert ("Anything about new players" in card) is warned


def test_other_results_are_refused(report: CorpusReport) -> None:
    with pytest.raises(ConfigError, match="another configuration") as error:
        model_card(make_config(report, config_hash="000"), report)
    assert error.value.next_step == f"dvc repro evaluate@{report.corpus}"
    with pytest.raises(BadInputError, match="hold no mel/extra_trees"):
        model_card(make_config(report, view="mel", model="extra_trees"), report)


def test_without_intervals_and_ceilings_the_card_says_so(report: CorpusReport) -> None:
    results = report.results[report.results["features"] != "ceiling"]
    results = results.assign(ci_low=pd.NA, ci_high=pd.NA, interval="")
    card = model_card(make_config(report), CorpusReport(report.corpus, results, report.summary))
    assert "There are no intervals" in card
    assert "so there is no ceiling" in card
    assert not re.search(r"\bnan\b", card)
    ModelCard(card)
