"""Sentences of the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pianoeval.checkpoints import is_non_commercial
from pianoeval.report import words
from pianoeval.report.data import CorpusReport
from pianoeval.report.scores import MODEL_KINDS

_PLURALS = {"content_group": "content groups"}
# What was drawn again for each interval, by the column ``interval`` of the results.
_METHODS = {
    "content×player": "content groups and players were both resampled (BCa bootstrap)",
    "content": "content groups were resampled (BCa bootstrap); players were not",
    "jackknife": "content groups were left out one at a time (jackknife, first order)",
}
FEW_MOVEMENTS = 12


def counted(n: int, column: str) -> str:
    """``1 movement``, ``45 content groups``."""
    name = words.plain(column)
    return f"{n:,} {name}" if n == 1 else f"{n:,} {_PLURALS.get(column, name + 's')}"


def predicts(config: Mapping[str, Any]) -> str:
    """What a prediction is."""
    n = len(config["dimensions"])
    what = f"{counted(n, 'dimension')} of the task `{config['task']}`"
    return (
        f"{what}, one number each for a clip of piano playing. A number says where between two"
        " poles the labels would put the clip; it is a grade only where a pole is named as better."
    )


def reads(inputs: Mapping[str, Any]) -> str:
    """What the model is given."""
    if inputs["source"] == "symbolic":
        absent = len(inputs["indicators"])
        text = f"{len(inputs['columns'])} symbolic features of a MIDI performance"
        return text + (f" and {absent} indicators of missing values" if absent else "")
    encoder = inputs["encoder"]
    weights = str(encoder.get("weights_sha256") or "")
    text = (
        f"vectors of the frozen encoder {inputs['source']}, layers {', '.join(inputs['layers'])},"
        f" {words.joined(list(inputs['stats']))} over the frames of a clip"
    )
    text += f" (weights `{weights[:12]}`, {encoder['precision']})" if weights else ""
    text += ", and the level of the audio" if inputs["level"] else ""
    return text + f"; audio: {words.joined(list(inputs['instruments']))}"


def frozen(inputs: Mapping[str, Any]) -> str:
    """What did not learn."""
    if inputs["source"] == "symbolic":
        return "the features are formulas"
    return f"the encoder {inputs['source']} is frozen"


def ceiling_note(report: CorpusReport) -> str:
    """What the column of ceilings is."""
    if report.simulated:
        return "The labels are exact, so the ceiling is 1."
    if (report.results["features"] == "ceiling").any():
        return "The ceiling is what the raters' disagreement allows."
    return "How far the labels can be trusted is not known, so there is no ceiling."


def interval_note(rows: pd.DataFrame, report: CorpusReport) -> str:
    """How the intervals were made."""
    told = report.summary.get("bootstrap")
    confidence = told.get("confidence") if isinstance(told, Mapping) else None
    level = f"{100 * float(confidence):g} % intervals" if confidence else "Intervals"
    ways = [text for name, text in _METHODS.items() if (rows["interval"] == name).any()]
    if not ways:
        return "There are no intervals: too few content groups."
    return f"In brackets: {level}; " + ", or ".join(ways) + "."


def limits(config: Mapping[str, Any], report: CorpusReport) -> list[str]:
    """What must not be concluded."""
    groups = config["corpus"]["groups"]
    found = [
        "How good these very weights are: nobody has tested them.",
        "That the model hears what it names: compare the baselines, which hear nothing.",
    ]
    kinds = report.results["features"].map(words.kind)
    models = report.results.loc[kinds.isin(MODEL_KINDS), ["features", "model"]].drop_duplicates()
    if len(models) > 1:
        found.append(
            f"That the best of many is that good: {len(models)} models were compared on these"
            " folds. If this one was picked for its score, the score flatters it."
        )
    movements = int(groups["movement"])
    if movements < FEW_MOVEMENTS:
        found.append(
            f"Anything about music in general: the corpus has {counted(movements, 'movement')} of"
            f" {counted(int(groups['composition']), 'composition')}. Intervals show how much the"
            " result depends on these clips, not on which music was chosen."
        )
    own = (report.results["features"] == config["view"]) & report.results["ci_low"].notna()
    methods = set(report.results.loc[own, "interval"])
    if "content×player" not in methods:
        found.append(
            "Anything about new players: the intervals do not resample them, and players recur."
        )
    return found


def domain(config: Mapping[str, Any], report: CorpusReport) -> str:
    """On which playing it may be used at all."""
    inputs, corpus = config["inputs"], config["corpus"]
    if inputs["source"] == "symbolic":
        made = "It was trained on MIDI"
    elif corpus["recorded"]:
        made = f"It was trained on audio, {corpus['recorded']} of {corpus['clips']} clips recorded"
    else:
        pianos = words.joined(list(inputs["instruments"]))
        made = f"It was trained on audio synthesised from MIDI with the instrument {pianos}"
    label = "simulated mistakes" if report.simulated else "these labels"
    use = "to see which mistakes features show" if report.simulated else "to study these labels"
    return (
        f"To compare features and encoders, as a baseline to beat, and {use}. {made}, on clips as"
        f" long as those of the corpus, and learned {label} alone. On other recordings, pianos,"
        " styles or raters its predictions have not been checked."
    )


def warning(config: Mapping[str, Any], report: CorpusReport) -> str:
    """What it must not be used for, and why."""
    text = (
        "Not for judging people: not for admission, examination, hiring, competition or grading,"
        " and not as the only feedback to a learner."
    )
    if report.simulated:
        return text + " What it learned says nothing about how people play."
    if config["task"] == "rating":
        text += " A rating is what a few listeners perceived, not a property of a pianist."
    return text


def non_commercial(assets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the parts whose licence forbids commercial use."""
    return [str(asset["name"]) for asset in assets if is_non_commercial(str(asset["licence"]))]


def licence_note(
    licences: Sequence[Mapping[str, Any]], assets: Sequence[Mapping[str, Any]] = ()
) -> str:
    """What is known about the licence of the weights."""
    barred = non_commercial(assets)
    text = (
        "The licence in the metadata is "
        + ("none of a known name" if barred else "that of the corpus as its manifest states it")
        + ". Whether a licence of training data extends to weights is not settled; nothing is"
        " granted here beyond what the owners of these parts grant."
    )
    if barred:
        text += (
            f" The model reads what {words.joined(barred)} computes, whose licence forbids"
            " commercial use: it is of no use without it, so take it as non-commercial too."
        )
    if not all(entry["redistributable"] for entry in licences):
        text += " Some of the clips may not be passed on: ask before publishing this model."
    return text
