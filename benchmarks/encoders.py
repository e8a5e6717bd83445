"""Speed of the encoders on one core, beside what the core can do.

    python benchmarks/encoders.py [--repeats 5]

Prints, for each encoder and setting, seconds of audio a second of processor time (x RT), and
which share of the core's measured float32 matrix-product rate the network reaches. Processor
time of one thread is used, so that a busy machine disturbs little; the best of the repeats
counts. Ratios between rows are what to trust.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from pianoeval.encoders import transkun_net
from pianoeval.encoders.base import Encoder
from pianoeval.encoders.registry import create_encoder
from pianoeval.params import EncoderParams

SETTINGS = {
    "transkun, all layers, float32": EncoderParams(kind="transkun"),
    "transkun, layer 4, float32": EncoderParams(kind="transkun", layers="4"),
    "transkun, all layers, bfloat16": EncoderParams(kind="transkun", precision="bfloat16"),
    "transkun, layer 4, bfloat16": EncoderParams(kind="transkun", layers="4", precision="bfloat16"),
    "mel": EncoderParams(kind="mel"),
}


def best_s(work: Callable[[], object], repeats: int) -> float:
    """Least processor time of one call (s), after one call that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def matrix_rate(dtype: torch.dtype, repeats: int) -> float:
    """FLOP/s of a 2048 x 2048 matrix product."""
    a = torch.randn(2048, 2048).to(dtype)
    return 2 * 2048**3 / best_s(lambda: a @ a, repeats)


def count_flop(encoder: Encoder, chunk: np.ndarray) -> int:
    """FLOP of one chunk, counted over PyTorch's own operators."""
    fused, transkun_net._ONEDNN = transkun_net._ONEDNN, False
    try:
        with FlopCounterMode(display=False) as counter:
            encoder.encode(chunk)
    finally:
        transkun_net._ONEDNN = fused
    return counter.get_total_flops()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    rates = {dtype: matrix_rate(dtype, repeats) for dtype in (torch.float32, torch.bfloat16)}
    for dtype, rate in rates.items():
        print(f"matrix product, {str(dtype).removeprefix('torch.')}: {rate / 1e9:.0f} GFLOP/s")
    print(f"{'encoder':34}{'x RT':>8}{'GFLOP':>8}{'of matrix rate':>17}")
    for name, params in SETTINGS.items():
        encoder = create_encoder(params)
        spec = encoder.spec
        noise = np.random.default_rng(0).standard_normal((1, spec.chunk_samples))
        chunk = (0.1 * noise).astype(np.float32)
        seconds = best_s(lambda e=encoder, x=chunk: e.encode(x), repeats)
        flop = count_flop(encoder, chunk)
        share = flop / seconds / rates[getattr(torch, spec.precision)]
        print(f"{name:34}{spec.chunk_s / seconds:8.2f}{flop / 1e9:8.0f}{share:17.0%}")


if __name__ == "__main__":
    main()
