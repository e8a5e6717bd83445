"""How much predictions differ between performers of one place, and against what that is much.

Beside the standard deviation between performers stand three measures of it: between places, the
noise of the source's labels, and what listeners of the source hear between its performers. A small
one alone says little: a model that predicts the mean for everybody has 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.evaluate.protocol.groups import UNKNOWN_PLAYER
from pianoeval.models.base import Float64
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.transfer import published
from pianoeval.transfer.predict import Transferred
from pianoeval.transfer.published import MEAN_OF_DIMENSIONS
from pianoeval.transfer.statistics import interval, variance_parts
from pianoeval.transfer.target import Target, usable, with_mean, with_overall

COLUMNS = (
    "row", "dimension", "pieces", "places", "clips", "intra_sd", "low", "high", "rank",
    "within_sd", "between_sd", "ratio_between", "share_within", "share_low", "share_high",
    "label_noise", "ratio_noise", "rated_within_sd", "share_of_rated", "deadpan", "published",
)  # fmt: skip


def performer_table(
    found: Sequence[Transferred], target: Target, source: CorpusPaths, params: Params
) -> pd.DataFrame:
    """Of each row of the report: its dimensions, the mean prediction, and the mean of dimensions.

    Noise of single dimensions averages out in the mean prediction (``overall``), so it spreads
    less than they do: ``mean_of_dimensions``, which averages the sds, is what the paper reports.

    Returns
    -------
    DataFrame
        Several clips of one performer at a place count as their mean, those of unknown ones not.
        ``intra_sd``: mean over places of the sample sd (n − 1) over performers, as the 2026 paper
        reports, ``low, high`` by resampling works; ``rank`` 1 = varies most. ``within_sd,
        between_sd``: variance components; ``share_within`` = within / (within + between), the part
        of the variance that performers make. ``label_noise``: standard error of a label of the
        source; ``rated_within_sd``: sd of the source's ratings within a segment, noise taken off;
        ``share_of_rated`` = within_sd / rated_within_sd. ``deadpan``: mean prediction of a deadpan
        clip less that of the people at its place. Empty where no place has two performers.
    """
    noise, rated = rated_spread(source, params.probe.task)
    rows: list[dict[str, object]] = []
    for one in found:
        human = usable(target, one.setting.target_clips, params.transfer.leave_out)
        human = human[human["player"] != UNKNOWN_PLAYER]
        several = human.groupby("segment")["player"].transform("nunique") >= 2
        human = human[several]
        if human.empty:
            return pd.DataFrame(columns=list(COLUMNS))
        names = with_mean(one.setting.dimensions)
        rows += _rows(one, human, names, noise, rated, target, params)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _of_players(human: pd.DataFrame, values: Float64) -> tuple[pd.DataFrame, Float64]:
    """One row a player and place, in the order of the clips, and the mean of their values."""
    by = ["segment", "player"]
    place = human.groupby(by, sort=False).ngroup().to_numpy()
    first = human.drop_duplicates(by)
    mean = pd.DataFrame(values[human["row"].to_numpy(dtype=int)]).groupby(place).mean()
    return first, mean.to_numpy(np.float64)


def _rows(
    one: Transferred, human: pd.DataFrame, names: list[str], noise: dict[str, float],
    rated: dict[str, float], target: Target, params: Params,
) -> list[dict[str, object]]:  # fmt: skip
    p, everything = params.transfer, with_overall(one.values)
    players, values = _of_players(human, everything)
    segments = players["segment"].tolist()
    frame = pd.DataFrame(values, index=players["segment"], columns=names).groupby(level=0)
    spread = frame.std(ddof=1)
    sd = spread.to_numpy(np.float64)
    sd = np.column_stack([sd, sd[:, :-1].mean(axis=1)])  # last, the mean of dimensions
    works = players.groupby("segment")["composition"].first().loc[spread.index].tolist()
    options = (p.n_bootstrap, p.confidence, p.seed)
    low, high = interval(lambda r: np.asarray(sd[r].mean(axis=0)), works, *options)
    within, between = variance_parts(values, segments)
    of = np.array(segments, dtype=str)

    def share(rows: np.ndarray) -> Float64:
        inside, outside = variance_parts(values[rows], _apart(of, rows))
        whole = inside + outside
        return np.divide(inside, whole, out=np.full_like(whole, np.nan), where=whole > 0)

    share_low, share_high = interval(share, players["composition"].tolist(), *options)
    dead = _deadpan(one, everything, frame.mean(), target)
    mean = sd.mean(axis=0)
    rank = (-mean[:-2]).argsort(kind="stable").argsort(kind="stable") + 1
    made: list[dict[str, object]] = [
        {
            "row": one.row.name, "dimension": name, "pieces": human["movement"].nunique(),
            "places": len(sd), "clips": len(human), "intra_sd": mean[i], "low": low[i],
            "high": high[i], "rank": rank[i] if i < len(rank) else None,
            "within_sd": np.sqrt(within[i]), "between_sd": np.sqrt(between[i]),
            "ratio_between": _ratio(np.sqrt(within[i]), np.sqrt(between[i])),
            "share_within": _ratio(within[i], within[i] + between[i]),
            "share_low": share_low[i], "share_high": share_high[i],
            "label_noise": noise.get(name, np.nan),
            "ratio_noise": _ratio(np.sqrt(within[i]), noise.get(name, np.nan)),
            "rated_within_sd": rated.get(name, np.nan),
            "share_of_rated": _ratio(np.sqrt(within[i]), rated.get(name, np.nan)),
            "deadpan": dead[i], "published": published.PERFORMER_SD.get(name, np.nan),
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    return [*made, _mean_of_dimensions(made[:-1], mean[-1], low[-1], high[-1])]


def _mean_of_dimensions(
    rows: Sequence[dict[str, object]], sd: float, low: float, high: float
) -> dict[str, object]:
    """The mean over dimensions of each sd, and ratios of these means."""
    columns = ["within_sd", "between_sd", "label_noise", "rated_within_sd"]
    mean = pd.DataFrame(rows)[columns].astype(np.float64).mean(skipna=False)
    return {
        **{name: rows[0][name] for name in ("row", "pieces", "places", "clips")},
        **{name: mean[name] for name in columns}, "dimension": MEAN_OF_DIMENSIONS,
        "intra_sd": sd, "low": low, "high": high,
        "ratio_between": _ratio(mean["within_sd"], mean["between_sd"]),
        "ratio_noise": _ratio(mean["within_sd"], mean["label_noise"]),
        "share_of_rated": _ratio(mean["within_sd"], mean["rated_within_sd"]),
        "published": published.PERFORMER_SD[MEAN_OF_DIMENSIONS],
    }  # fmt: skip


def _apart(segments: np.ndarray, rows: np.ndarray) -> list[str]:
    """Names of places in a resample: a place that was drawn twice is two places."""
    first: dict[int, int] = {}
    names = []
    for row in rows:
        first[int(row)] = first.get(int(row), -1) + 1
        names.append(f"{segments[row]}|{first[int(row)]}")
    return names


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _deadpan(one: Transferred, values: Float64, people: pd.DataFrame, target: Target) -> Float64:
    """Mean over places of the deadpan clip's prediction less the people's mean."""
    table = target.clips.loc[one.setting.target_clips]
    score = np.flatnonzero(table["is_score_render"].to_numpy(dtype=bool))
    places = table["segment"].to_numpy()[score]
    kept = np.isin(places, people.index)
    if not kept.any():
        return np.full(values.shape[1], np.nan)
    gap = values[score[kept]] - people.loc[places[kept]].to_numpy()
    return np.asarray(gap.mean(axis=0), dtype=np.float64)


def rated_spread(source: CorpusPaths, task: str) -> tuple[dict[str, float], dict[str, float]]:
    """Of the source, by dimension: the labels' standard error, and their true sd within a segment.

    Noise variance is the mean of sd² / raters; the variance within segments, pooled over people's
    takes (n − 1), less that noise is what differs between them. Without raters' sd no dimension
    has a noise, and what differs is not known either.
    """
    manifest, labels = read_manifest(source.manifest), read_labels(source.labels)
    people = manifest[~manifest["is_score_render"] & (manifest["tier"] == 0)]
    labels = labels[labels["task"] == task].merge(people[["clip", "segment"]], on="clip")
    noise: dict[str, float] = {}
    rated: dict[str, float] = {}
    for name, rows in labels.groupby("dimension", sort=False):
        variance = (rows["sd"] ** 2 / rows["n_raters"].astype(float)).mean()
        if np.isfinite(variance):
            noise[str(name)] = float(np.sqrt(variance))
            within, _ = variance_parts(rows[["value"]].to_numpy(float), rows["segment"].tolist())
            rated[str(name)] = float(np.sqrt(np.maximum(0.0, within[0] - variance)))
    return noise, rated
