"""The paper's ablations: layers, pooling, losses."""

from __future__ import annotations

import typing

from pianoeval.ablation.grids import layer_names, thirds
from pianoeval.errors import ConfigError
from pianoeval.features.framestats import ALL_STATS, STATS
from pianoeval.paper import words
from pianoeval.paper.recipes import Menu, PaperRow, Recipe, mert_needed
from pianoeval.params import LossName

MEAN, MSE = "mean", "mse"
FRAMES_HZ = 2.0  # of what attention and LSTM read, where params.yaml stores no frames


def table2(menu: Menu) -> Recipe:
    """Layers: the paper's ranges, every layer alone, all of them, a learned mix."""
    head, main = menu.head("ridge"), menu.main
    names = layer_names(menu.params, main)
    if len(names) < 2:
        raise ConfigError(
            f"'{main}' has one layer", where="pianoeval paper table2",
            next_step="pianoeval paper table2 --audio transkun",
        )  # fmt: skip
    rows = _ranges(menu, main, head, "muq")
    late = rows[2].label if len(rows) > 2 else rows[0].label
    rows += [
        PaperRow(f"layer {one}", menu.audio(main, head, one, layers=one), against=late)
        for one in names
    ]
    mixed = menu.audio(main, "layer_mlp", "mix", layers="all")
    rows.append(PaperRow("learned mix of all", mixed, against=late))
    if "mert" in menu.choice.audio and main != "mert":
        rows += _ranges(menu, "mert", head, "mert")
    else:
        need = mert_needed(menu, "table2")
        for which, label in (("early", "1–6 (early)"), ("mid", "7–12 (mid)")):
            rows.append(PaperRow(f"MERT {label}", "", f"table2.mert_{which}", needs=need))
    rows.append(
        PaperRow("MERT 13–24 (late)", "", "table2.mert_late",
                 needs="another encoder: MERT-95M has 12 layers")
    )  # fmt: skip
    return menu.recipe("table2", "layers", "Table 2", rows, differs=words.GENERAL + words.TABLE2)


_OF_PAPER = {
    "muq": (("early", "1..4"), ("mid", "5..8"), ("late", "9..12"), ("all", "1..12")),
    "mert": (("early", "1..6"), ("mid", "7..12")),
}


def _ranges(menu: Menu, encoder: str, head: str, role: str) -> list[PaperRow]:
    """Layer ranges of an encoder, in the place of the paper's; thirds where it is another one."""
    names = layer_names(menu.params, encoder)
    chosen = _OF_PAPER.get(encoder)
    if chosen is None or not {"1", "12"} <= set(names):
        parts = thirds(names)
        places = ("early", "mid", "late")[: len(parts)]
        chosen = (*zip(places, parts, strict=True), ("all", "all"))
    rows: list[PaperRow] = []
    against = f"{encoder} {dict(chosen)['late']} (late)" if "late" in dict(chosen) else ""
    for place, layers in chosen:
        label = f"{encoder} {layers} ({place})" if layers != "all" else f"{encoder} all"
        row = menu.audio(encoder, head, place, layers=layers)
        other = against if label != against else ""
        rows.append(PaperRow(label, row, f"table2.{role}_{place}", other))
    return rows


def pooling(menu: Menu) -> Recipe:
    """How frames become one vector: the paper's four ways, and statistics that keep timing."""
    head, main = menu.head("mlp"), menu.main
    newer = [stat for stat in ALL_STATS if stat not in STATS]
    if not menu.params.pool.model_dump().get("sequence_hz"):
        menu.settings["pool.sequence_hz"] = FRAMES_HZ
    frames = {"layers": menu.layers(main)}
    rows = [
        PaperRow(MEAN, menu.audio(main, head), "pooling.mean"),
        PaperRow("attention", menu.audio(main, "attention", "frames", **frames),
                 "pooling.attention", MEAN),
        PaperRow("LSTM", menu.audio(main, "lstm", "frames", **frames), "pooling.lstm", MEAN),
        PaperRow("max", menu.audio(main, head, "max", stats=["max"]), "pooling.max", MEAN),
        PaperRow("mean + std", menu.audio(main, head, "mean-std", stats=["mean", "std"]),
                 against=MEAN),
    ]  # fmt: skip
    if "delta" in newer:
        row = menu.audio(main, head, "delta", stats=["mean", "std", "delta"])
        rows.append(PaperRow("mean + std + delta", row, against=MEAN))
    rows += [
        PaperRow("mean, ridge", menu.audio(main, "ridge"), against=MEAN),
        PaperRow("mean + std, ridge", menu.audio(main, "ridge", "mean-std", stats=["mean", "std"]),
                 against="mean, ridge"),
    ]  # fmt: skip
    if newer:
        row = menu.audio(main, "ridge", "temporal", stats=["mean", "std", *newer])
        rows.append(PaperRow("mean + std + temporal, ridge", row, against="mean + std, ridge"))
    return menu.recipe(
        "pooling", "pooling", "section 4.4", rows, differs=words.GENERAL + words.POOLING
    )


def losses(menu: Menu) -> Recipe:
    """What the perceptron minimises."""
    rows = [PaperRow(MSE, menu.audio(menu.main, "mlp"), "losses.mse")]
    for loss in typing.get_args(LossName):
        if loss != MSE:
            row = menu.audio(menu.main, "mlp", loss, loss=loss)
            rows.append(PaperRow(loss, row, "losses.ccc" if loss == "ccc" else "", MSE))
    return menu.recipe(
        "losses", "losses", "section 3.3", rows, differs=words.GENERAL + words.LOSSES
    )
