"""What is fixed while one corpus is evaluated, and what has been found so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.evaluate.bootstrap import draw_counts
from pianoeval.evaluate.metrics import Array
from pianoeval.params import EvaluateParams, Params
from pianoeval.provenance import config_hash

Headline = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much one set of clips holds; ``pairs`` before any margin."""

    scheme: str
    subset: str
    folds: int
    clips: int
    clusters: int
    pairs: int


@dataclass(eq=False)
class Evaluation:
    """What is fixed while one corpus is evaluated, and the rows found so far."""

    corpus: str
    task: str
    manifest: pd.DataFrame
    values: Array
    dimensions: list[str]
    ratings: pd.DataFrame | None
    raters: Array | None
    params: EvaluateParams
    hashes: Mapping[str, str]
    commit: str
    unreliable: list[str] = field(default_factory=list)
    unknown_reliability: list[str] = field(default_factory=list)
    reliability: dict[str, pd.DataFrame] = field(default_factory=dict)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    undefined: set[tuple[str, str, str]] = field(default_factory=set)
    headlines: dict[str, dict[str, Headline]] = field(default_factory=dict)
    sizes: list[Sizes] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    _counts: dict[int, Array] = field(default_factory=dict)

    def counts(self, n_clusters: int) -> Array:
        """The bootstrap draws over so many clusters: one set, shared by all models."""
        if n_clusters not in self._counts:
            drawn = draw_counts(n_clusters, self.params.n_bootstrap, self.params.seed)
            self._counts[n_clusters] = drawn
        return self._counts[n_clusters]

    def averaged(self, metric: str) -> NDArray[np.bool_]:
        """Dimensions that enter the mean of a metric."""
        if not metric.startswith("pairwise"):
            return np.ones(len(self.dimensions), bool)
        return np.array([name not in self.unreliable for name in self.dimensions])


def row_hashes(params: Params, corpus: str, views: Iterable[str]) -> dict[str, str]:
    """Hash of the configuration behind the numbers of each view: what they depend on, no more.

    Baselines and ceilings depend on the corpus and its folds alone; a view on its own block, the
    probes, and for an embedding on the encoder and the instruments that it reads.
    """
    base: dict[str, Any] = {
        "corpus": params.corpora.get(corpus),
        "midi": params.midi,
        "folds": params.folds,
        "evaluate": params.evaluate,
        "task": params.probe.task,
    }
    hashes = dict.fromkeys(("none", "lookup", "ceiling"), config_hash(base))
    for name in views:
        hashes[name] = config_hash({**base, "probe": params.probe, **_read_by(params, name)})
    return hashes


def _read_by(params: Params, name: str) -> dict[str, Any]:
    """Parameters of a view, and of what its features were computed with."""
    for features, views in params.views.items():
        view = views.get(name)
        if view is None:
            continue
        if features not in params.encoders:
            return {"view": view}
        instruments = view.instruments or params.axes.instrument
        return {
            "view": view,
            "encoder": params.encoders[features],
            "instruments": {i: params.instruments[i] for i in instruments},
            "render": params.render,
            "pool": params.pool,
        }
    return {"view": name}
