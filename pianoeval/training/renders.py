"""Training on every render of a clip: instruments as augmentation, and as what is left out.

A view with ``renders: each`` has one row a clip *and* instrument. Everything is divided as clips:
a spread fold takes an ordinary :class:`~pianoeval.models.base.Fold` and puts each clip's renders
where the clip stands, in training and test, in every inner fold and in the validation group. So
the leak audit, which is of clips, holds of renders; :func:`check_sides` sees to it in each fold,
and raises its error. Two renders of one take on two sides would let a model find the take again.

Rows of the report, beside the view's own:

``<view>``
    trained on all instruments; the prediction of a clip is the mean over its renders
``<view>:on_<instrument>``
    the same models, tested on one instrument
``<view>:without_<instrument>``
    trained on the others, tested on the one that they have not heard, of clips not heard either
``<view>:only_<instrument>``
    trained and tested on one: what the rest add is the difference
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pianoeval.errors import ConfigError
from pianoeval.evaluate.protocol.controls import render_view
from pianoeval.evaluate.protocol.groups import LeakError
from pianoeval.models.base import Float32, Fold, Rows

RENDER = "render"  # column of predictions: the instrument of the render
_IDENTITY = ["clip", "scheme", "fold", "model", "seed", "task", "dimension"]


@dataclass(frozen=True)
class Renders:
    """Which instruments a model is trained on, and which it is tested on.

    Attributes
    ----------
    train, test : tuple of str
        Each instrument once.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def used(self) -> tuple[str, ...]:
        """Instruments in the order of the rows of a spread fold."""
        return (*self.train, *(name for name in self.test if name not in self.train))

    def places(self, names: tuple[str, ...]) -> Rows:
        """Of instruments among those used."""
        return np.array([self.used.index(name) for name in names], dtype=np.int64)


def whole(instruments: tuple[str, ...], where: str = "views") -> Renders:
    """Trained and tested on every instrument.

    Raises
    ------
    ConfigError
        There is one alone, so that nothing can be left out.
    """
    if len(instruments) < 2:
        raise ConfigError(
            f"renders: each of {', '.join(instruments) or 'no instrument'}",
            where=where, allowed="two instruments or more",
            next_step="add instruments to axes.instrument, or set renders: average",
        )  # fmt: skip
    return Renders(instruments, instruments)


def apart(view: str, instruments: tuple[str, ...]) -> Iterator[tuple[str, Renders]]:
    """Row names of models that some instrument was kept from, and what they are given."""
    for name in instruments:
        others = tuple(other for other in instruments if other != name)
        yield render_view(view, "without", name), Renders(others, (name,))
        yield render_view(view, "only", name), Renders((name,), (name,))


def stacked(vectors: Mapping[str, Float32], renders: Renders) -> Float32:
    """Vectors of all that is used, one instrument after the other: (instruments · clips, p)."""
    return np.concatenate([vectors[name] for name in renders.used])


def spread(fold: Fold, n_clips: int, renders: Renders) -> Fold:
    """A fold of clips as a fold of their renders.

    Parameters
    ----------
    fold : Fold
        Its ``train`` and ``test`` are clips; its ``x`` is :func:`stacked`, so that row
        ``k · n_clips + i`` is clip i on ``renders.used[k]``.

    Raises
    ------
    LeakError
        A clip would stand on both sides of a division.
    ConfigError
        The fold has frames or notes, which are not kept by render.
    """
    if fold.sequences is not None:
        raise ConfigError(
            "models of frames or notes learn from one sequence a clip", where="views",
            allowed="renders: average", next_step="give them a view of their own in params.yaml",
        )  # fmt: skip
    train, test = renders.places(renders.train), renders.places(renders.test)
    made = replace(
        fold,
        train=_rows(fold.train, train, n_clips),
        test=_rows(fold.test, test, n_clips),
        y=np.tile(fold.y, (len(train), 1)),
        groups=None if fold.groups is None else np.tile(fold.groups, len(train)),
        inner=[_both(split, len(train), fold.n_train) for split in fold.inner],
        validation=None
        if fold.validation is None
        else _both(fold.validation, len(train), fold.n_train),
    )
    check_sides(made, n_clips)
    return made


def _rows(rows: Rows, instruments: Rows, n: int) -> Rows:
    """The rows of each instrument in turn; ``n`` rows an instrument."""
    return np.asarray((instruments[:, None] * n + rows[None, :]).ravel(), dtype=np.int64)


def _both(split: tuple[Rows, Rows], n_instruments: int, n_train: int) -> tuple[Rows, Rows]:
    every = np.arange(n_instruments)
    return _rows(split[0], every, n_train), _rows(split[1], every, n_train)


def check_sides(fold: Fold, n_clips: int) -> None:
    """Raise LeakError if renders of one clip stand on both sides of any division of the fold."""
    of_train = fold.train % n_clips
    sides = [("training", "test", of_train, fold.test % n_clips)]
    divisions = [*fold.inner, *([] if fold.validation is None else [fold.validation])]
    sides += [("fitting", "validation", of_train[fit], of_train[held]) for fit, held in divisions]
    for first, second, one, other in sides:
        shared = np.intersect1d(one, other)
        if len(shared):
            raise LeakError(
                f"renders of {len(shared)} clips are in {first} and {second}",
                where=f"fold {fold.name}", allowed="all renders of a clip on one side",
                next_step="dvc repro folds",
            )  # fmt: skip


def by_instrument(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Predictions of renders, apart; raises KeyError for a table that has none."""
    return {
        str(name): part.drop(columns=RENDER) for name, part in table.groupby(RENDER, sort=False)
    }


def over_renders(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over renders of each clip; a table without renders as it is."""
    if RENDER not in table.columns:
        return table
    mean = table.groupby(_IDENTITY, sort=False, dropna=False)["prediction"].mean()
    found = mean.astype(np.float32).reset_index()
    return found[[name for name in table.columns if name != RENDER]]
