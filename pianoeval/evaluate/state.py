"""What is fixed while one corpus is evaluated, and what has been found so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.evaluate.protocol.controls import base_view
from pianoeval.evaluate.scoring import Scale, Scored
from pianoeval.evaluate.statistics.classification import metric_family
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.fusions import usable_fusions
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
    players: int = 1  # that are resampled; 1 = players are too few or unknown


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
    unbounded: set[tuple[str, str]] = field(default_factory=set)
    headlines: dict[str, dict[str, Headline]] = field(default_factory=dict)
    controls: dict[str, dict[str, Headline]] = field(default_factory=dict)
    scored: dict[tuple[str, str], Scored] = field(default_factory=dict)
    sizes: list[Sizes] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    leaks: pd.DataFrame = field(default_factory=pd.DataFrame)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def scale(self) -> Scale:
        """What is the same for every scheme and model."""
        ranked = np.array([name not in self.unreliable for name in self.dimensions])
        return Scale(self.params, metric_family(self.task, self.values), self.values, ranked)


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
    """Parameters of a view, and of what its features were computed with; of a fusion's members."""
    if name in params.fusion.views:
        members = usable_fusions(params)[0].get(name, [])
        return {
            "fusion": params.fusion.views[name],
            "penalties": params.fusion.penalties,
            "members": {member.view: _read_by(params, member.view) for member in members},
        }
    of = {} if base_view(name) == name else {"name": name}
    for features, views in params.views.items():
        view = views.get(base_view(name))
        if view is None:
            continue
        if features not in params.encoders:
            return {"view": view, **of}
        instruments = view.instruments or params.axes.instrument
        return {
            "view": view,
            **of,
            "encoder": params.encoders[features],
            "instruments": {i: params.instruments[i] for i in instruments},
            "render": params.render,
            "pool": params.pool,
        }
    return {"view": name}
