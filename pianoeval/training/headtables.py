"""Tables of what heads on frames found: a row a head, scheme, fold, seed, dimension and clip."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.heads.base import HeadPrediction
from pianoeval.training.headfolds import Framed, Scaled

COLUMNS = ("head", "scheme", "fold", "seed", "dimension", "clip")
PREDICTED = "predicted"


@dataclass(frozen=True)
class Rows:
    """Rows of one head and fold: seed after seed, dimension after dimension, clip after clip."""

    head: str
    scaled: Scaled
    framed: Framed
    seeds: Sequence[int]

    def _heads(self) -> pd.DataFrame:
        scheme, fold = self.scaled.fold.name.rsplit("/", 1)
        clips = [self.framed.clips[row] for row in self.scaled.fold.test]
        index = pd.MultiIndex.from_product(
            [self.seeds, self.framed.dimensions, clips], names=COLUMNS[3:]
        )
        table = index.to_frame(index=False)
        table.insert(0, "fold", int(fold))
        table.insert(0, "scheme", scheme)
        table.insert(0, "head", self.head)
        return table

    def predictions(self, one: HeadPrediction) -> pd.DataFrame:
        """In the units of the labels."""
        low, span = self.scaled.low[:, None], self.scaled.span[:, None]
        values = low + span * one.predicted.astype(np.float64)
        return self._heads().assign(**{PREDICTED: values.reshape(-1)})

    def latents(self, one: HeadPrediction) -> pd.DataFrame:
        """No rows of a head that has no code."""
        head, width = self._heads(), one.latents.shape[-1]
        if not width:
            return head.iloc[:0]
        values = one.latents.reshape(len(head), width).astype(np.float32)
        codes = pd.DataFrame(values, columns=[f"v{column:03d}" for column in range(width)])
        return pd.concat([head, codes], axis=1)


def joined(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """One table; its named columns alone, and no row, where there is none."""
    full = [table for table in tables if len(table)]
    if full:
        return pd.concat(full, ignore_index=True)
    kinds = {"fold": "int64", "seed": "int64", PREDICTED: "float64"}
    return pd.DataFrame({name: pd.Series([], dtype=kinds.get(name, "str")) for name in columns})


def packed(table: pd.DataFrame) -> NDArray[np.uint8]:
    """A table as an array of an item."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def unpacked(array: NDArray[Any]) -> pd.DataFrame:
    """What :func:`packed` made."""
    return pd.read_parquet(io.BytesIO(array.tobytes()))
