"""What is fixed while the rankers of one corpus are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import ConfigError
from pianoeval.evaluate.ranked.contest import Entry
from pianoeval.evaluate.state import row_hashes
from pianoeval.evaluate.statistics import ceiling
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.params import Params
from pianoeval.provenance import config_hash


@dataclass(frozen=True, eq=False)
class Setting:
    """A corpus, its labels, and how far they can be trusted.

    Attributes
    ----------
    manifest, labels : DataFrame
        The manifest sorted by clip.
    values : float64, shape (clips, D)
        Labels; NaN = not rated.
    dimensions : list of str
    params : Params
    commit : str
    ratings : DataFrame or None
    reliability : DataFrame or None
        Of all clips; None where there are no ratings.
    unreliable : list of str
        Dimensions that enter no mean but ``mean_all``.
    dropped : dict of int
        Takes left out of a scheme because some row says nothing of them; filled on the way.
    """

    manifest: pd.DataFrame
    labels: pd.DataFrame
    values: Array
    dimensions: list[str]
    params: Params
    commit: str
    ratings: pd.DataFrame | None = None
    reliability: pd.DataFrame | None = None
    unreliable: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def corpus(self) -> str:
        return str(self.manifest["corpus"].iloc[0])

    @property
    def clips(self) -> list[str]:
        found: list[str] = self.manifest["clip"].tolist()
        return found

    @property
    def averaged(self) -> NDArray[np.bool_]:
        """Dimensions that enter means, (D,)."""
        return np.array([name not in self.unreliable for name in self.dimensions])

    def ceilings(self, y: Array, clips: NDArray[np.object_], pairs: NDArray[np.int64],
                 subset: str) -> dict[str, Array]:  # fmt: skip
        """Ceiling of each accuracy, (D,) each; nothing without ratings.

        Reliability is that of the takes that are compared: of human clips, or of all.
        """
        if self.ratings is None:
            return {}
        segments = self.manifest.set_index("clip")["segment"]
        if subset == "human":
            deadpan = self.manifest.set_index("clip")["is_score_render"].astype(bool)
            segments = segments[~deadpan]
        table = ceiling.reliability(self.ratings, segments, self.params.evaluate.seed)
        raters = ceiling.rater_counts(self.ratings, list(clips), self.dimensions)
        margins = self.params.evaluate.margins
        return ceiling.pairwise_ceilings(y, self.dimensions, pairs, raters, table, margins)


def make_setting(
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    ratings: pd.DataFrame | None,
    params: Params,
    commit: str,
) -> Setting:
    """Read labels and reliabilities.

    Raises
    ------
    ConfigError
        The corpus has no labels of ``probe.task``.
    """
    task = params.probe.task
    if task not in set(labels["task"]):
        raise ConfigError(
            f"the corpus has no labels of task '{task}'",
            allowed=", ".join(sorted(set(labels["task"]))) or "none: the corpus has no labels",
            next_step="set probe.task in params.yaml, or add labels",
        )
    manifest = manifest.sort_values("clip", ignore_index=True)
    values, dimensions = label_matrix(labels, task, manifest["clip"].tolist())
    reliability, unreliable = None, []
    if ratings is not None:
        segments = manifest.set_index("clip")["segment"]
        reliability = ceiling.reliability(ratings, segments, params.evaluate.seed)
        least = params.evaluate.min_within_reliability
        unreliable = ceiling.unreliable_dimensions(reliability, least)
    return Setting(
        manifest, labels, values, dimensions, params, commit, ratings, reliability, unreliable
    )


def entry_hashes(params: Params, corpus: str, entries: Mapping[str, Entry]) -> dict[str, str]:
    """Hash of the configuration behind each row, by its name.

    Of models and baselines as in ``results.csv``; of a ranker what the views that it reads depend
    on, its own block, and what all rankers share.
    """
    judged = [entry for entry in entries.values() if entry.kind != "baseline"]
    views = [view for entry in judged for view in entry.features.split("+")]
    of_views = row_hashes(params, corpus, views)
    shared = params.rank.model_dump(mode="json", exclude={"rankers", "schemes"})
    found = {}
    for name, entry in entries.items():
        if entry.kind in ("model", "baseline"):
            found[name] = of_views[entry.features]
            continue
        block = params.rank.rankers[entry.model.partition(":")[0]]
        read = [of_views[view] for view in block.views]
        found[name] = config_hash({"rank": shared, "ranker": block, "views": read})
    return found
