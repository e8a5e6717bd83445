"""How far the target lies from what was learned, and what a model should refuse to judge.

Distance is the exported model's (``training.export.distance``): root mean square of the features
in standard deviations of the training clips, about 1 for a clip like them. Beside the target's
stands what any new movement of the source is at: distances of each movement from a scale that was
learned without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from pianoeval.models.base import Float32, Float64, Standardiser
from pianoeval.params import Params
from pianoeval.training.export import distance
from pianoeval.transfer.predict import Setting, Transferred
from pianoeval.transfer.target import Target

COLUMNS = ("row", "part", "name", "value")
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_FOLDS = 5
_COMPONENTS, _MOST = 32, 256
REASONS = ("unlike", "length", "range")


def shift_table(found: Sequence[Transferred], target: Target, params: Params) -> pd.DataFrame:
    """``row, part, name, value``.

    ``features``: of the inputs. ``distance_*`` of training clips, of clips of a movement that was
    held out, of the target; ``share_beyond`` farther than every training clip; ``values_outside``,
    the share of single values outside the training range (``held_…``: of held-out movements);
    ``energy``, energy distance (Székely & Rizzo 2013) in [0, 1], 0 = one distribution; ``auc``, of
    telling the two corpora apart on clips of unseen groups (Lopez-Paz & Oquab 2017), .5 = cannot.
    ``rated``, ``predicted``: mean, sd and quantiles of labels of the source and of predictions of
    the target by dimension; ``outside``: share of predictions beyond the labels' range;
    ``prediction_energy``: energy distance of the two in standard deviations of the labels.
    ``refused``: share of target clips by reason; ``coverage``: share of the target that is no
    farther than this quantile of held-out movements.
    """
    rows: list[tuple[str, str, str, float]] = []
    of_view: dict[str, tuple[dict[str, float], Float64, Float64]] = {}
    for one in found:
        if one.row.view not in of_view:
            of_view[one.row.view] = feature_shift(one.setting, target, params.transfer.seed)
        numbers, held, apart = of_view[one.row.view]
        name = one.row.name
        rows += [(name, "features", key, value) for key, value in numbers.items()]
        rows += [(name, *row) for row in _predictions(one)]
        refused = refusals(one, target)
        rows += [(name, "refused", why, float(refused[why].mean())) for why in (*REASONS, "any")]
        rows += [
            (name, "coverage", f"{q:g}", float((apart <= np.quantile(held, q)).mean()))
            for q in QUANTILES
            if np.isfinite(held).all()
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def feature_shift(
    setting: Setting, target: Target, seed: int
) -> tuple[dict[str, float], Float64, Float64]:
    """Numbers of the inputs; distances of held-out movements, and of the target's clips."""
    n = setting.n_source
    source, new = setting.x[:n], setting.x[n:]
    scaler = Standardiser.fit(source)
    inside, apart = distance(scaler, source), distance(scaler, new)
    manifest = setting.manifest.set_index("clip").loc[setting.source_clips]
    held, held_outside = _held_out(source, manifest["movement"].to_numpy(dtype=str))
    groups = [f"source|{g}" for g in manifest["content_group"]]
    groups += [f"target|{g}" for g in target.clips.loc[setting.target_clips, "movement"]]
    z = _moderate(np.concatenate([scaler.transform(source), scaler.transform(new)]), n)
    numbers = {
        "distance_training_median": float(np.median(inside)),
        "distance_training_largest": float(inside.max()),
        "distance_held_median": float(np.median(held)),
        "distance_held_largest": float(held.max()),
        "distance_target_median": float(np.median(apart)),
        "distance_target_largest": float(apart.max()),
        "share_beyond": float((apart > inside.max()).mean()),
        "values_outside": outside_share(source, new),
        "held_values_outside": held_outside,
        "energy": multivariate_energy(z[:n], z[n:]),
        "auc": two_sample_auc(z[:n], z[n:], groups, seed),
    }
    return numbers, held, apart


def held_distances(setting: Setting) -> Float64:
    """Distance of each clip of the source from its other movements."""
    manifest = setting.manifest.set_index("clip").loc[setting.source_clips]
    movements = manifest["movement"].to_numpy(dtype=str)
    return _held_out(setting.x[: setting.n_source], movements)[0]


def _held_out(x: Float32, movements: np.ndarray) -> tuple[Float64, float]:
    """Distance of each clip from the other movements, and the share of its values outside theirs.

    A corpus of one movement has nothing to hold out: NaN.
    """
    held = np.full(len(x), np.nan)
    shares = []
    for movement in np.unique(movements):
        mine = movements == movement
        if (~mine).sum() > 1:
            held[mine] = distance(Standardiser.fit(x[~mine]), x[mine])
            shares.append((outside_share(x[~mine], x[mine]), mine.sum()))
    share = sum(s * k for s, k in shares) / sum(k for _, k in shares) if shares else np.nan
    return held, float(share)


def outside_share(known: Float32, new: Float32) -> float:
    """Share of the values of ``new`` outside the range of ``known``, column by column; NaN out."""
    some = ~np.isnan(known).all(axis=0)
    low, high = np.nanmin(known[:, some], axis=0), np.nanmax(known[:, some], axis=0)
    there = ~np.isnan(new[:, some])
    beyond = ((new[:, some] < low) | (new[:, some] > high)) & there
    return float(beyond.sum() / max(1, there.sum()))


def _moderate(z: Float64, n: int) -> Float64:
    """At most ``_MOST`` principal components of the source: wide views stay affordable."""
    wanted = min(_MOST, n - 1)
    if z.shape[1] <= wanted:
        return z
    kept = PCA(wanted, svd_solver="randomized", random_state=0).fit(z[:n])
    return np.asarray(kept.transform(z), dtype=np.float64)


def multivariate_energy(one: Float64, other: Float64) -> float:
    """Energy coefficient H = (2 E|X−Y| − E|X−X'| − E|Y−Y'|) / (2 E|X−Y|), in [0, 1]."""
    across = 2 * cdist(one, other).mean()
    inside = cdist(one, one).mean() + cdist(other, other).mean()
    return float((across - inside) / across) if across > 0 else 0.0


def two_sample_auc(one: Float64, other: Float64, groups: Sequence[str], seed: int) -> float:
    """Area under the ROC curve of a logistic regression that tells two samples apart.

    Out of fold by whole groups; principal components are those of each fold's training side. NaN
    where a sample has fewer groups than folds.
    """
    x, y = np.concatenate([one, other]), np.repeat([0, 1], [len(one), len(other)])
    names = np.asarray(groups, dtype=str)
    if min(len(set(names[y == side])) for side in (0, 1)) < _FOLDS:
        return float("nan")
    # Each sample is cut by itself, so that both are in every fold.
    fold = np.empty(len(y), np.int64)
    for side in (0, 1):
        rows = np.flatnonzero(y == side)
        cut = GroupKFold(_FOLDS).split(rows, groups=names[rows])
        for number, (_, held) in enumerate(cut):
            fold[rows[held]] = number
    score = np.empty(len(y))
    for number in range(_FOLDS):
        fit, held = fold != number, fold == number
        parts = min(_COMPONENTS, x.shape[1], int(fit.sum()) - 1)
        basis = PCA(parts, random_state=seed).fit(x[fit])
        scale = basis.transform(x[fit]).std(axis=0) + 1e-12
        model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
        model.fit(basis.transform(x[fit]) / scale, y[fit])
        score[held] = model.decision_function(basis.transform(x[held]) / scale)
    # Scores of folds are compared within the fold: their models differ in offset.
    areas = [roc_auc_score(y[fold == k], score[fold == k]) for k in range(_FOLDS)]
    return float(np.mean(areas))


def _predictions(one: Transferred) -> list[tuple[str, str, float]]:
    """Labels of the source and predictions of the target, side by side."""
    rows: list[tuple[str, str, float]] = []
    for i, name in enumerate(one.setting.dimensions):
        rated, predicted = one.setting.y[:, i], one.values[:, i]
        for part, values in (("rated", rated), ("predicted", predicted)):
            rows += [(f"{part}_mean", name, float(values.mean()))]
            rows += [(f"{part}_sd", name, float(values.std(ddof=1)))]
            rows += [
                (f"{part}_{label}", name, float(np.quantile(values, q)))
                for label, q in (("p05", 0.05), ("p95", 0.95))
            ]
        sd = float(rated.std()) or 1.0
        beyond = (predicted < rated.min()) | (predicted > rated.max())
        rows.append(("outside", name, float(beyond.mean())))
        rows.append(("prediction_energy", name, float(energy_distance(rated / sd, predicted / sd))))
    return rows


def refusals(one: Transferred, target: Target) -> pd.DataFrame:
    """Which clips of the target should not be judged, and why: truth values by clip.

    ``unlike``: farther than every training clip; ``length``: shorter or longer than all of them;
    ``range``: a prediction beyond the labels of its dimension; ``any``.
    """
    s = one.setting
    n = s.n_source
    scaler = Standardiser.fit(s.x[:n])
    unlike = distance(scaler, s.x[n:]) > distance(scaler, s.x[:n]).max()
    lengths = _lengths(s.manifest.set_index("clip").loc[s.source_clips])
    new = _lengths(target.clips.loc[s.target_clips])
    length = (new < lengths.min()) | (new > lengths.max())
    beyond = ((one.values < s.y.min(axis=0)) | (one.values > s.y.max(axis=0))).any(axis=1)
    table = pd.DataFrame(dict(zip(REASONS, (unlike, length, beyond), strict=True)), s.target_clips)
    return table.assign(any=table.any(axis=1))


def _lengths(manifest: pd.DataFrame) -> Float64:
    return (manifest["end_s"] - manifest["start_s"]).to_numpy(np.float64)
