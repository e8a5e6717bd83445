"""The numbers that the paper printed, and where."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pianoeval.compare.verdict import number
from pianoeval.yamlfile import read_yaml

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Published:
    """One printed number.

    Attributes
    ----------
    value, low, high, sd : float
        NaN where the paper gives none.
    where : str
        Table, figure or section.
    """

    value: float
    where: str
    low: float = math.nan
    high: float = math.nan
    sd: float = math.nan

    @property
    def text(self) -> str:
        """``.533 [.514, .560]``, ``.534 ± .075``."""
        if math.isfinite(self.low):
            return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"
        if math.isfinite(self.sd):
            return f"{number(self.value)} ± {number(self.sd)}"
        return number(self.value)


@functools.cache
def _read() -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_yaml(FILE)
    return found


def published() -> dict[str, Published]:
    """Every number by its key, as ``table1.muq``."""
    return {str(key): Published(**fields) for key, fields in _read()["numbers"].items()}


def categories() -> dict[str, list[str]]:
    """Dimensions of each category of figure 3."""
    return {str(key): [str(name) for name in names] for key, names in _read()["categories"].items()}


def of_dimensions(table: str) -> dict[str, Published]:
    """What a table gives for single dimensions, by their names."""
    names = {name for group in categories().values() for name in group}
    found = published()
    return {name: found[f"{table}.{name}"] for name in names if f"{table}.{name}" in found}
