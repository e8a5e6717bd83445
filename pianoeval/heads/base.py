"""What every head on frames is given and what it returns.

As in :mod:`pianoeval.models.base`: a fold holds the labels of its training clips only, so nothing
that is chosen can be chosen on the clips that are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pianoeval.features.sequences import Sequences
from pianoeval.models.base import Float32, Float64, Rows
from pianoeval.params import RunParams
from pianoeval.params_contrast import HeadParams


@dataclass(frozen=True, eq=False)
class HeadFold:
    """One fold of one scheme.

    Attributes
    ----------
    name : str
        ``scheme/fold``, for messages.
    frames : Sequences
        Frames of all clips, shared by the folds: float32, values finite; pitch is MIDI / 127 and 0
        where unvoiced.
    train, test : int64
        Clips that may be learned from, and those that are reported.
    y : float64, shape (len(train), dimensions)
        Labels of the training clips in their order, in [0, 1].
    validation : (fit, held)
        Positions within ``train``: one group-aware split, on which training stops.
    """

    name: str
    frames: Sequences
    train: Rows
    test: Rows
    y: Float64
    validation: tuple[Rows, Rows]

    @property
    def n_dimensions(self) -> int:
        return int(self.y.shape[1])


@dataclass(frozen=True, eq=False)
class HeadPrediction:
    """What a head says of a fold's reported clips, trained for each seed and dimension by itself.

    Attributes
    ----------
    predicted : float64, shape (seeds, dimensions, len(test))
    latents : float32, shape (seeds, dimensions, len(test), values)
        Codes of the encoder, averaged over the chunks of a clip; no values where there is no code.
    validation : float64, shape (seeds, dimensions)
        Mean squared error on the validation clips, by which points of a sweep are chosen; NaN, as
        are predictions and latents, of what diverged: its loss was never finite.
    selection : dict of float64, shape (seeds, dimensions)
        What was chosen inside the training side, e.g. ``{"epoch": ...}``.
    """

    predicted: Float64
    latents: Float32
    validation: Float64
    selection: dict[str, Float64] = field(default_factory=dict)


# One list a head, of one prediction a fold: heads that read the same frames train at once.
Predict = Callable[
    [Sequence[HeadFold], Sequence[HeadParams], Sequence[int], RunParams],
    list[list[HeadPrediction]],
]
