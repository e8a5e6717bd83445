"""Ready-made grids: the points that are tried, and the parameters that each of them changes.

Every point is one experiment with one model on one view, so that nothing else is trained: the other
views, controls, learning curves, rankers and heads are left out. Whatever was trained before with
the same features and parameters, in the workspace or in another point, comes from the cache.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pianoeval.ablation.overrides import assign, assign_text, without_networks_beside
from pianoeval.encoders.inventory import known_spec
from pianoeval.encoders.layers import parse_layers
from pianoeval.errors import ConfigError
from pianoeval.features.pooling import STATS
from pianoeval.params import LossName, ModelName, Params, Scheme

MIX = "mix"
_MODELS: tuple[ModelName, ...] = ("ridge", "mlp", "layer_mlp", "extra_trees", "boosting")


@dataclass(frozen=True)
class Target:
    """What is varied: a model on a view of some features of a corpus."""

    corpus: str
    features: str
    view: str
    model: ModelName


@dataclass(frozen=True)
class Point:
    """One experiment.

    Attributes
    ----------
    label : str
        As it was asked for and as the table shows it.
    overrides : tuple of str
        All that differs from ``params.yaml``, for ``dvc exp run -S``.
    row : str
        ``view/model`` that is compared.
    scheme : str
        The scheme that the point stands for; empty where all schemes of a run are compared.
    """

    label: str
    overrides: tuple[str, ...]
    row: str
    scheme: str = ""


@dataclass(frozen=True)
class Grid:
    """Points of one kind, compared with the one called ``baseline``."""

    name: str
    target: Target
    points: tuple[Point, ...]
    baseline: str

    @property
    def first(self) -> Point:
        """The baseline's point."""
        return next(point for point in self.points if point.label == self.baseline)


@dataclass(frozen=True)
class Request:
    """What a grid is made of: parameters as validated and as the file has them."""

    params: Params
    data: Mapping[str, Any]
    target: Target
    values: Sequence[str]
    extra: Sequence[str] = ()
    baseline: str = ""

    def point(self, label: str, changes: Mapping[str, Any], typed: Sequence[str] = (),
              model: ModelName | None = None, scheme: str = "") -> Point:  # fmt: skip
        """A point that sets ``changes``, then ``typed`` as it stands, then what the user gave."""
        target, model = self.target, model or self.target.model
        wanted = _alone(self.params, target, model) | dict(changes)
        overrides = [
            part for key, value in wanted.items() for part in assign(self.data, key, value)
        ]
        others = [name for name in self.params.views[target.features] if name != target.view]
        overrides += [f"~views.{target.features}.{name}" for name in others]
        overrides += [*without_networks_beside(self.data), *self.extra, *typed]
        return Point(label, tuple(overrides), f"{target.view}/{model}", scheme)

    def grid(self, name: str, points: Sequence[Point], baseline: str) -> Grid:
        """The grid with its baseline; raises ConfigError for too few or repeated points."""
        labels = [point.label for point in points]
        chosen = self.baseline or (baseline if baseline in labels else labels[0])
        if len(labels) < 2 or len(set(labels)) < len(labels) or chosen not in labels:
            raise ConfigError(
                f"two or more different points are compared with one of them: {', '.join(labels)}"
                + (f"; the baseline is '{chosen}'" if chosen not in labels else ""),
                where=f"pianoeval ablate {name}",
                next_step=f"pianoeval ablate {name} VALUE VALUE … [--baseline VALUE]",
            )  # fmt: skip
        return Grid(name, self.target, tuple(points), chosen)


def _alone(params: Params, target: Target, model: ModelName) -> dict[str, Any]:
    """What leaves one model on one view, and nothing beside it."""
    chosen: dict[str, Any] = {
        "axes.corpus": [target.corpus],
        "axes.features": [target.features],
        f"views.{target.features}.{target.view}.models": [model],
        "probe.controls.labels": [],
        "probe.learning_curve.percents": [],
    }
    if target.features in params.encoders:
        chosen["axes.encoder"] = [target.features]
    return chosen


def layer_names(params: Params, features: str) -> tuple[str, ...]:
    """Layers that an encoder stores; raises ConfigError where they are not known."""
    spec = (
        known_spec(features, params.encoders[features])[0] if features in params.encoders else None
    )
    if spec is None:
        encoders = [name for name in params.axes.features if name in params.encoders]
        raise ConfigError(
            f"layers of '{features}' are not known", allowed=", ".join(encoders) or "an encoder",
            next_step=f"pianoeval encoder get {features}" if features in params.encoders
            else "pianoeval ablate layers --features ENCODER",
        )  # fmt: skip
    return tuple(spec.layer_names)


def layers(request: Request) -> Grid:
    """Each layer alone, thirds of the numbered ones, all side by side, and a learned mix."""
    target, names = request.target, layer_names(request.params, request.target.features)
    if len(names) < 2:
        raise ConfigError(
            f"'{target.features}' has one layer", where="pianoeval ablate layers",
            next_step="choose an encoder of several: --features NAME; 'pianoeval encoder list' "
            "shows them",
        )  # fmt: skip
    values = list(request.values) or [*names, *thirds(names), "all", MIX]
    key = f"views.{target.features}.{target.view}.layers"
    points = []
    for value in values:
        mixed = value == MIX
        if not mixed:
            parse_layers(value, names)
        points.append(
            request.point(
                value, {key: "all" if mixed else value}, model="layer_mlp" if mixed else None
            )
        )
    return request.grid("layers", points, "all")


def thirds(names: Sequence[str]) -> list[str]:
    """Early, middle and late layers, as ``1..4``; none where that is a layer alone."""
    numbered = [name for name in names if name.isdecimal() and name != "0"]
    if len(numbered) < 4:
        return []
    cuts = [round(i * len(numbered) / 3) for i in range(4)]
    parts = [numbered[a:b] for a, b in pairwise(cuts)]
    return [f"{part[0]}..{part[-1]}" for part in parts if len(part) > 1]


def pooling(request: Request) -> Grid:
    """Each statistic alone, the mean with each other one, all of them; ``+`` joins statistics."""
    if request.target.features not in request.params.encoders:
        raise ConfigError(
            f"'{request.target.features}' has no frames to pool", where="pianoeval ablate pooling",
            next_step="choose an encoder: --features NAME",
        )  # fmt: skip
    pairs = [f"mean+{stat}" for stat in STATS if stat != "mean"]
    values = list(request.values) or [*STATS, *pairs, "+".join(STATS)]
    points = [request.point(v, {"pool.stats": v.replace(",", "+").split("+")}) for v in values]
    return request.grid("pooling", points, "+".join(request.params.pool.stats))


def loss(request: Request) -> Grid:
    """What the perceptron minimises."""
    if request.target.model not in ("mlp", "layer_mlp"):
        raise ConfigError(
            f"{request.target.model} has one loss", where="--model", allowed="mlp, layer_mlp",
            next_step="pianoeval ablate loss --model mlp",
        )  # fmt: skip
    values = list(request.values) or list(typing.get_args(LossName))
    points = [request.point(value, {"probe.mlp.loss": value}) for value in values]
    return request.grid("loss", points, "mse")


def scheme(request: Request) -> Grid:
    """What is kept out of training: how much each scheme flatters."""
    values = list(request.values) or list(typing.get_args(Scheme))
    points = [request.point(v, {"folds.schemes": [v]}, scheme=v) for v in values]
    return request.grid("scheme", points, "movement")


def parameter(request: Request, key: str) -> Grid:
    """Any parameter, with values as ``dvc exp run -S`` takes them."""
    if not request.values:
        raise ConfigError(
            "a parameter needs values to try", where=key,
            next_step=f"pianoeval ablate {key} VALUE VALUE …",
        )  # fmt: skip
    beside = {"rank": ("ranker", "ranking.csv"), "contrast": ("head", "contrastive.csv")}
    if found := beside.get(key.partition(".")[0]):
        what, table = found
        raise ConfigError(
            f"{what}s are not among the rows that are compared",
            where=key,
            next_step=f"name the values in 'sweep' of the {what}: one run tries them all, and "
            f"{table} has a row of each",
        )
    points = [
        request.point(value, {}, [assign_text(request.data, key, value)])
        for value in request.values
    ]
    return request.grid(key, points, request.values[0])


GRIDS: dict[str, Callable[[Request], Grid]] = {
    "layers": layers, "pooling": pooling, "loss": loss, "scheme": scheme,
}  # fmt: skip


def choose_target(
    params: Params, grid: str, corpus: str = "", features: str = "", view: str = "", model: str = ""
) -> Target:
    """What is varied where the user leaves it open.

    The only corpus on the axes; the first encoder on them (for layers: that has several); its first
    view; ridge, and for losses ``layer_mlp`` where the view has several layers, else ``mlp``.

    Raises
    ------
    ConfigError
        A name that is not known, or several corpora to choose from.
    """
    corpora = params.axes.corpus
    _known("--corpus", corpus, params.corpora)
    if not corpus and len(corpora) > 1:
        raise ConfigError(
            "several corpora are on the axes", where="axes.corpus", allowed=", ".join(corpora),
            next_step=f"pianoeval ablate {grid} --corpus {corpora[0]}",
        )  # fmt: skip
    _known("--features", features, params.views)
    features = features or _first_features(params, grid)
    views = params.views.get(features) or {}
    _known("--view", view, views)
    view = view or next(iter(views), "")
    if not view:
        raise ConfigError(
            f"'{features}' has no view", where=f"views.{features}",
            next_step=f"add a view to views.{features} in params.yaml",
        )  # fmt: skip
    _known("--model", model, _MODELS)
    default: ModelName = "ridge"
    if grid == "loss":
        several = features in params.encoders and len(layer_names(params, features)) > 1
        default = "layer_mlp" if several and views[view].layers == "all" else "mlp"
    chosen = next((name for name in _MODELS if name == model), default)
    return Target(corpus or corpora[0], features, view, chosen)


def _first_features(params: Params, grid: str) -> str:
    encoders = [name for name in params.axes.features if name in params.encoders]
    if grid == "layers":
        several = [name for name in encoders if len(layer_names(params, name)) > 1]
        encoders = several or encoders
    return next(iter(encoders), params.axes.features[0])


def _known(option: str, name: str, known: Mapping[str, Any] | Sequence[str]) -> None:
    if name and name not in known:
        raise ConfigError(
            f"'{name}' is not known", where=option, allowed=", ".join(known),
            next_step="choose one of these, or add its block to params.yaml",
        )  # fmt: skip
