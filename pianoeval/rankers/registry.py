"""Rankers by approach."""

from __future__ import annotations

from pianoeval.params_rank import Approach
from pianoeval.rankers.base import Predict
from pianoeval.rankers.contrastive import predict_contrastive
from pianoeval.rankers.difference import predict_difference
from pianoeval.rankers.dual import predict_dual
from pianoeval.rankers.kernel import predict_kernel
from pianoeval.rankers.lora import predict_lora
from pianoeval.rankers.siamese import predict_siamese

RANKERS: dict[Approach, Predict] = {
    "contrastive": predict_contrastive,
    "difference": predict_difference,
    "dual": predict_dual,
    "kernel": predict_kernel,
    "lora": predict_lora,
    "siamese": predict_siamese,
}
