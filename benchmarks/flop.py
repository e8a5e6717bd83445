"""FLOP of a network, and what a device reaches in a plain matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from pianoeval.encoders.base import Encoder

Shape = tuple[int, ...]


def _linear_flop(x: Shape, weight: Shape, *_: Any, **__: Any) -> int:
    return 2 * int(np.prod(x)) * weight[0]


def _attention_flop(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return 2 * int(np.prod(query)) * key[-2] + 2 * int(np.prod(query[:-1])) * key[-2] * value[-1]


def _operators() -> dict[Any, Any]:
    """Operators of CPUs that PyTorch's counter does not know."""
    known: dict[Any, Any] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop
    }
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        known[torch.ops.mkldnn._linear_pointwise] = _linear_flop
    return known


def count_flop(encoder: Encoder) -> int:
    """FLOP of one full chunk as it is computed: products, convolutions, attention."""
    audio = noise(encoder, 1)
    counter = FlopCounterMode(display=False, custom_mapping=_operators())
    with counter, torch.inference_mode():
        encoder.forward(audio, [audio.shape[1]])
    return int(counter.get_total_flops())


def noise(encoder: Encoder, rows: int) -> torch.Tensor:
    """Full chunks of quiet noise on the encoder's device."""
    draw = np.random.default_rng(0).standard_normal((rows, encoder.spec.chunk_samples))
    return torch.from_numpy((0.1 * draw).astype(np.float32)).to(encoder.device)


def least_s(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Least time of a call (s) after two that do not count; processor time on a CPU."""
    times = []
    for k in range(repeats + 2):
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            work()
            end.record()
            end.synchronize()
            seconds = begin.elapsed_time(end) / 1000
        else:
            start = time.process_time()
            work()
            seconds = time.process_time() - start
        times += [seconds] if k >= 2 else []
    return min(times)


def matrix_rate(dtype: torch.dtype, device: torch.device, repeats: int) -> float:
    """FLOP/s of a large square matrix product: 8192 on a GPU, 2048 on one core."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    with torch.inference_mode():
        return 2 * size**3 / least_s(lambda: a @ b, device, repeats)
