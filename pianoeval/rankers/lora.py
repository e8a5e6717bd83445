r"""An encoder adapted to ranking: low-rank adapters and linear scores, learned together from audio.

A take's frames are pooled (mean and standard deviation, as in the pooled stores) and standardised;
its score in a dimension is linear in that, and of a pair the difference of scores is learned from
by RankNet's or a hinge loss (:mod:`pianoeval.losses.pairwise`), so :math:`P(A>B) = 1 - P(B>A)`.

1. Scores start as ridge on differences of the *frozen* encoder's pooled vectors, λ by accuracy on
   the fold's validation pairs; adapters start at nothing. At step 0 the ranker is the frozen one
   (a linear probe first, then fine-tuning: Kumar et al. 2022, ICLR).
2. AdamW trains adapters and scores on batches of segments: crops at the same relative place of all
   takes of a segment. Its decay pulls both back to the frozen ranker.
3. Every ``check_every`` steps the whole validation takes are heard; the best step is kept, 0 among
   them, and training ends after ``patience`` looks without a better one.

Margins are log-odds: scores times a logistic slope from validation pairs, which is a little too
steep, since these pairs chose the step too. What is kept was learned without the validation takes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from pianoeval.encoders.differentiable import differentiable
from pianoeval.encoders.registry import create_encoder
from pianoeval.encoders.speed import rate_name
from pianoeval.errors import ConfigError
from pianoeval.params import RunParams
from pianoeval.params_rank import LoraParams, RankerParams
from pianoeval.progress import Meter
from pianoeval.rankers.audio import TakeAudio
from pianoeval.rankers.base import RankFold, RankPrediction, score_margins
from pianoeval.rankers.difference import logistic_slope
from pianoeval.rankers.lora_start import frozen_start, validation_split
from pianoeval.rankers.lora_training import BACKWARD, Hearing, train
from pianoeval.rankers.pairs import training_pairs
from pianoeval.rates import Rates

_log = logging.getLogger(__name__)


def predict_lora(
    folds: Sequence[RankFold], points: Sequence[RankerParams], run: RunParams
) -> list[list[RankPrediction]]:
    """Every point in every fold, one after the other; see the module.

    Raises
    ------
    ConfigError
        No GPU where one is wanted, an encoder that cannot be adapted, or a fold without audio or
        without validation pairs.
    PianoevalError
        Audio is damaged, or training diverged.
    """
    if not folds:
        return [[] for _ in points]
    audio, lora = folds[0].audio, points[0].lora
    if audio is None or lora is None:
        raise ConfigError("a ranker of approach lora was given no audio", where=folds[0].name)
    check_device(lora)
    for fold in folds:
        validation_split(fold)  # said before hours of work
    net = differentiable(create_encoder(audio.encoder, audio.name))
    rows = np.unique(np.concatenate([part for fold in folds for part in (fold.train, fold.test)]))
    heard, learned = audio.seconds(rows), _learned_s(folds, points, audio)
    _tell(audio, heard + learned)
    runs = sum(point.n_seeds for point in points) * len(folds)
    with Meter("lora", runs, amount=heard + learned, unit="s of audio") as meter:
        frozen = np.full((len(audio.clips), 2 * len(net.wanted) * audio.spec.dim), np.nan)
        frozen[rows] = audio.pooled(
            net.encoder, rows, lora.batch_takes, partial(meter.advance, items=0)
        )
        hearing = Hearing(audio, lora, net, frozen, meter)
        return [[_predict(fold, point, hearing) for fold in folds] for point in points]


def check_device(lora: LoraParams) -> None:
    """Raise ConfigError where a GPU is wanted and there is none."""
    if lora.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "a ranker of approach lora is to be trained on a GPU, and there is none here",
            where="rank.rankers: lora.device",
            allowed="a machine with a GPU; or device: cpu, which takes hours for a corpus",
            next_step="set lora.device: cpu in params.yaml, or take the ranker out",
        )  # fmt: skip


def _learned_s(
    folds: Sequence[RankFold], points: Sequence[RankerParams], audio: TakeAudio
) -> float:
    """Audio that training puts through the encoder at most (s), a step counted by its cost."""
    total, chunk_s = 0.0, audio.spec.chunk_s
    for point in points:
        assert point.lora is not None, "points differ in other fields only"
        lora = point.lora
        steps = BACKWARD * lora.steps * lora.batch_takes * chunk_s
        looks = -(-lora.steps // lora.check_every)
        for fold in folds:
            held = audio.seconds(fold.train[validation_split(fold)[1]])
            total += point.n_seeds * (steps + looks * held + audio.seconds(fold.test))
    return total


def _tell(audio: TakeAudio, seconds: float) -> None:
    rate = Rates().of(rate_name(audio.spec))
    _log.info(
        "lora: at most %.3g h of audio through %s, %.3g min if %.3g s of it a second, as measured "
        "or assumed for embedding on a CPU", seconds / 3600, audio.name, seconds / rate / 60, rate,
    )  # fmt: skip


def _predict(fold: RankFold, params: RankerParams, hearing: Hearing) -> RankPrediction:
    """One point in one fold, seeds averaged."""
    start = frozen_start(fold, hearing.frozen, params)
    pairs = training_pairs(fold, validation_split(fold)[1], params.pairs)
    done = []
    for seed in range(params.n_seeds):
        done.append(train(fold, params, hearing, start, seed))
        hearing.meter.advance(0.0)
    slopes = [logistic_slope(one.margins, pairs) for one in done]
    scores = np.mean([one.scores * s for one, s in zip(done, slopes, strict=True)], axis=0)
    accuracy = [one.accuracy for one in done]
    return RankPrediction(
        score_margins(fold, scores), float(np.mean(accuracy)),
        codes={"shared": (done[0].features @ start.axes).astype(np.float32)},
        selection={
            "step": [float(one.step) for one in done], "lambda": [start.penalty],
            "accuracy": accuracy, "frozen_accuracy": [start.accuracy],
            "slope": np.mean(slopes, axis=0).tolist(),
        },
    )  # fmt: skip
