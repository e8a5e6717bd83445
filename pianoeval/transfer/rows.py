"""Rows of the report that are transferred: a view and a model of it."""

from __future__ import annotations

from dataclasses import dataclass

from pianoeval.errors import ConfigError
from pianoeval.params import ModelName, Params


@dataclass(frozen=True)
class Row:
    """A view and a model of it, as a row of the report names them."""

    source: str
    view: str
    model: ModelName

    @property
    def name(self) -> str:
        """``VIEW/MODEL``."""
        return f"{self.view}/{self.model}"


def find_rows(params: Params) -> list[Row]:
    """``transfer.rows`` whose features are on the axes, in their order.

    Raises
    ------
    ConfigError
        A row without view or model, or none on the axes.
    """
    views = {name: source for source, group in params.views.items() for name in group}
    rows = []
    for text in params.transfer.rows:
        view, _, model = text.partition("/")
        listed = params.views[views[view]][view].models if view in views else []
        if model not in listed:
            known = [f"{v}/{m}" for v, s in views.items() for m in params.views[s][v].models]
            raise ConfigError(
                f"transfer.rows names '{text}', which no view lists", where="params.yaml",
                allowed=", ".join(known), next_step="edit transfer.rows in params.yaml",
            )  # fmt: skip
        if views[view] in params.axes.features:
            name = next(one for one in listed if one == model)
            rows.append(Row(views[view], view, name))
    if not rows:
        raise ConfigError(
            "no row of transfer.rows reads features of axes.features", where="params.yaml",
            allowed=", ".join(params.transfer.rows), next_step="edit axes.features, transfer.rows",
        )  # fmt: skip
    return rows
