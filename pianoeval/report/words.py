"""Numbers and names as a reader meets them: formats, scheme descriptions, feature names."""

from __future__ import annotations

import math
import re

from pianoeval.evaluate.protocol.controls import render_of
from pianoeval.fusions import is_fusion

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EN DASH}"

SCHEME_ORDER = (
    "random", "segment", "content", "player", "leave_one_player_out", "movement", "composition",
    "movement_player",
)  # fmt: skip

_SCHEMES = {
    "random": ("random", "clips at random; shown only to make the leak visible"),
    "segment": (
        "segment",
        "clips of one segment stay together; its notes, piece and player may be in training",
    ),
    "content": ("content", "segments that share notes stay together; piece and player are known"),
    "player": ("player", "all clips of a player stay together; the music is known"),
    "leave_one_player_out": ("leave one player out", "one player is new; the music is known"),
    "movement": ("movement", "a whole movement is new; players may be known"),
    "movement_player": ("movement × player", "both the movement and the player are new"),
    "composition": ("composition", "a whole composition is new"),
}

_METRICS = {
    "r2_pooled": "R² pooled",
    "r2_fold_mean": "R² mean of folds",
    "spearman": "Spearman ρ",
    "pearson": "Pearson r",
    "kendall": "Kendall τ",
    "ndcg": "NDCG",
    "auc": "AUC",
    "average_precision": "average precision",
    "f1_macro": "F1 macro",
    "f1_micro": "F1 micro",
    "mse": "MSE",
    "rmse": "RMSE",
    "mae": "MAE",
    "ccc": "CCC",
    "dispersion_ratio": "dispersion ratio",
}

METRIC_ORDER = (
    "r2_pooled", "r2_fold_mean", "pairwise_0", "pairwise_005", "pairwise_010", "spearman",
    "pearson", "kendall", "ndcg", "ccc", "mae", "mse",
)  # fmt: skip

_CEILINGS = {
    "icc_1k": "ICC(1,k)",
    "icc_11": "ICC(1,1)",
    "exact_labels": "exact labels",
    "split_half": "split half",
    "within_reliability": "within-segment reliability",
}

#: Metrics where less is better; everything else is sorted from the top.
LOWER_IS_BETTER = frozenset({"mse", "rmse", "mae"})


def number(value: float | None, digits: int = 3) -> str:
    """Fixed decimals with a true minus sign; an en dash where there is no value."""
    if value is None or not math.isfinite(value):
        return ABSENT
    text = f"{abs(value):.{digits}f}"
    return (MINUS if value < 0 and float(text) != 0 else "") + text


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """``0.051 to 0.262``, or nothing where there is no interval."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{number(low, digits)} to {number(high, digits)}"


def tick(value: float) -> str:
    """An axis label: one decimal where that is exact, else two."""
    return number(value, 1 if abs(value * 10 - round(value * 10)) < 1e-9 else 2)


def percent(share: float | None) -> str:
    """A share as a whole percentage."""
    if share is None or not math.isfinite(share):
        return ABSENT
    rounded = round(100 * share)
    return f"{MINUS if rounded < 0 else ''}{abs(rounded)} %"


def count(value: float) -> str:
    """An integer with thousands separated; an en dash where it is not known."""
    return f"{round(value):,}" if math.isfinite(value) else ABSENT


def plain(name: str) -> str:
    """A column name as words."""
    return name.replace("_", " ").strip()


def scheme_name(scheme: str) -> str:
    """``movement_player`` → ``movement × player``."""
    return _SCHEMES[scheme][0] if scheme in _SCHEMES else plain(scheme)


def scheme_meaning(scheme: str) -> str:
    """What a scheme keeps out of training; empty for a scheme this version does not know."""
    return _SCHEMES[scheme][1] if scheme in _SCHEMES else ""


def scheme_rank(scheme: str) -> tuple[int, str]:
    """Sort key: from the leakiest scheme to the strictest, unknown ones last."""
    known = SCHEME_ORDER.index(scheme) if scheme in SCHEME_ORDER else len(SCHEME_ORDER)
    return known, scheme


def metric_rank(metric: str) -> tuple[int, str]:
    """Sort key: the headline metrics first."""
    known = METRIC_ORDER.index(metric) if metric in METRIC_ORDER else len(METRIC_ORDER)
    return known, metric


def metric_name(metric: str) -> str:
    """``pairwise_005`` → ``pairwise |Δ| > 0.05``."""
    if match := re.fullmatch(r"pairwise_(\d+)", metric):
        digits = match.group(1)
        decimals = len(digits) - 1  # the first digit is the whole part
        margin = int(digits) / 10**decimals
        return f"pairwise |Δ| > {margin:.{decimals}f}" if margin else "pairwise, any Δ"
    if match := re.fullmatch(r"acc_(\d+)", metric):
        return f"accuracy ±{match.group(1)}"
    return _METRICS.get(metric, plain(metric))


def kind(features: str) -> str:
    """How a row is drawn: ``symbolic``, ``audio``, ``fusion``, ``lookup``, ``mean``, ``ceiling``,
    ``control``.

    ``fusion`` is several models read as one, ``control`` a view trained on labels that were taken
    from other clips, ``curve`` a view trained on a share of the clips, which stands in the learning
    curves alone.
    """
    _, _, derived = features.partition(":")
    if derived:
        is_curve = derived.startswith("train_") or render_of(features) is not None
        return "curve" if is_curve else "control"
    special = {"lookup": "lookup", "none": "mean", "ceiling": "ceiling", "symbolic": "symbolic"}
    if features in special:
        return special[features]
    if is_fusion(features):
        return "fusion"
    return "symbolic" if features.startswith(("symbolic", "notes")) else "audio"


def control_name(features: str) -> str:
    """``mel:shuffled_labels`` → ``shuffled labels``."""
    return plain(features.partition(":")[2])


def pretrained_twin(features: str) -> str | None:
    """``transkun_random`` → ``transkun``; None for a view of an encoder that was trained."""
    parts = re.split(r"([-_])", features)
    if "random" not in parts:
        return None
    at = parts.index("random")
    kept = parts[: max(at - 1, 0)] + parts[at + (1 if at else 2) :]
    return "".join(kept) or None


def model_name(features: str, model: str) -> str:
    """A model, the group of a lookup, or the name of a ceiling."""
    what = kind(features)
    if what == "lookup":
        return scheme_name(model.removesuffix("_mean"))
    return _CEILINGS.get(model, plain(model)) if what == "ceiling" else plain(model)


def row_name(features: str, model: str) -> str:
    """A row as read aloud: ``ridge on transkun-4``, ``lookup by movement × player``."""
    what, name = kind(features), model_name(features, model)
    if what in ("mean", "ceiling"):
        return name
    if what == "lookup":
        return f"lookup by {name}"
    if what in ("control", "curve"):
        return f"{name} on {features.partition(':')[0]}, {control_name(features)}"
    return f"{name} on symbolic features" if features == "symbolic" else f"{name} on {features}"


def named(key: str) -> str:
    """A model key, ``features/model``, as it is read aloud."""
    features, slash, model = key.partition("/")
    return row_name(features, model) if slash else plain(key)


def source_of(features: str) -> str:
    """``transkun-4`` → ``transkun``: a view by what it was taken from."""
    part = layer_of(features)
    return part[0] if part else features


def features_of(key: str) -> str:
    """The features of a model key."""
    return key.partition("/")[0]


def p_value(value: float | None) -> str:
    """Three decimals, and ``< 0.001`` below that: more would claim a precision it lacks."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return "< 0.001" if value < 0.001 else number(value)


def signed(value: float | None, digits: int = 3) -> str:
    """A difference: the sign is always there."""
    text = number(value, digits)
    positive = value is not None and math.isfinite(value) and float(f"{value:.{digits}f}") > 0
    return f"+{text}" if positive else text


def layer_of(features: str) -> tuple[str, str] | None:
    """``transkun-4`` → ``("transkun", "4")``; None for a view that is not one layer."""
    match = re.fullmatch(r"(.+?)-(\d+|ctx|context|embedding|last|out)", features)
    return (match.group(1), match.group(2)) if match else None


def layer_rank(layer: str) -> tuple[int, int, str]:
    """Sort key: numbered layers in order, then named ones."""
    return (0, int(layer), "") if layer.isdigit() else (1, 0, layer)


def joined(parts: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
