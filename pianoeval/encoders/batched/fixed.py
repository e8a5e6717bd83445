"""Compiled forward passes for shapes that come again and again, and how many rows fit a GPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pianoeval.encoders.base import Encoder
from pianoeval.errors import PianoevalError

log = logging.getLogger(__name__)
_compiler: Any = torch.compiler  # not annotated throughout
MOST_ROWS = 32  # enough to fill any GPU: 8,000 frames of MuQ
_SHARE = 0.8  # of the free memory
_PINNED_BYTES = 1 << 30  # of one slot of pinned memory


class FixedForward:
    """``encoder.forward``, compiled where all rows are as long as their batch.

    Each shape is compiled once, with CUDA graphs: replaying one launch instead of some thousand
    kernels is what keeps a GPU busy at small batches. Lengths of shorter rows would be constants
    of the graph, and compiled again for every batch; these run as they are written.

    Parameters
    ----------
    backend : str
        Of ``torch.compile``.
    """

    def __init__(self, encoder: Encoder, rows: int, backend: str = "inductor") -> None:
        self.encoder, self.rows = encoder, rows
        self.compiled_batches, self.plain_batches = 0, 0
        mode = "reduce-overhead" if backend == "inductor" else None
        self._whole = torch.compile(self._same_length, dynamic=False, backend=backend, mode=mode)

    def __call__(self, audio: Tensor, lengths: Sequence[int]) -> Tensor:
        """As ``encoder.forward``."""
        if len(audio) != self.rows or min(lengths) < audio.shape[1]:
            self.plain_batches += 1
            return self.encoder.forward(audio, lengths)
        self.compiled_batches += 1
        if audio.is_cuda:  # the last result has been converted: its memory may be written again
            _compiler.cudagraph_mark_step_begin()
        frames: Tensor = self._whole(audio)
        return frames

    def report(self) -> None:
        """Say how much ran compiled, and where a graph had to be divided."""
        log.info(
            "%s: %d batches ran compiled, %d with rows of other lengths did not",
            self.encoder.spec.name, self.compiled_batches, self.plain_batches,
        )  # fmt: skip
        for reason, times in torch._dynamo.utils.counters["graph_break"].items():
            log.warning("the compiled graph is divided %d times: %s", times, reason)

    def _same_length(self, audio: Tensor) -> Tensor:
        return self.encoder.forward(audio, [audio.shape[1]] * len(audio))


def fitting_rows(encoder: Encoder) -> int:
    """Rows of a batch: a power of two that leaves a fifth of the free memory; 1 on a CPU.

    Measured with one and with two chunks of noise, after one that takes what libraries keep for
    themselves. A CUDA graph keeps its memory, and other batches need as much again beside it.

    Raises
    ------
    PianoevalError
        Not even one chunk fits.
    """
    if encoder.device.type != "cuda":
        return 1  # larger batches fall out of a CPU's caches
    torch.cuda.empty_cache()
    try:
        _, one, two = (_peak_bytes(encoder, rows) for rows in (1, 1, 2))
    except torch.OutOfMemoryError as error:
        raise out_of_memory(encoder, 1) from error
    torch.cuda.empty_cache()
    a_row = max(two - one, 1)
    free, _ = torch.cuda.mem_get_info(encoder.device)
    spec = encoder.spec
    pinned = 2 * spec.chunk_frames * len(spec.layer_names) * spec.dim
    share = _SHARE / 2 if encoder.spec.compiled else _SHARE
    fits = min((share * free - (one - a_row)) / a_row, _PINNED_BYTES / pinned, MOST_ROWS)
    return 1 << max(int(fits), 1).bit_length() - 1


def out_of_memory(encoder: Encoder, rows: int) -> PianoevalError:
    """The error of a GPU that is too small, or busy."""
    return PianoevalError(
        f"the GPU's memory does not hold a batch of {rows} chunks of "
        f"{encoder.spec.chunk_s:g} s", where=f"encoders.{encoder.spec.name}",
        allowed="a smaller run.batch_size, or 0: what fits", next_step="end other programs on the "
        "GPU or edit params.yaml, then: dvc repro",
    )  # fmt: skip


def _peak_bytes(encoder: Encoder, rows: int) -> int:
    """Memory that a batch takes beside what is there already."""
    noise = np.random.default_rng(0).standard_normal((rows, encoder.spec.chunk_samples))
    audio = torch.from_numpy((0.1 * noise).astype(np.float32)).to(encoder.device)
    before = torch.cuda.memory_allocated(encoder.device)
    torch.cuda.reset_peak_memory_stats(encoder.device)
    with torch.inference_mode():
        frames = encoder.forward(audio, [audio.shape[1]] * rows)
        half = frames.half()
    torch.cuda.synchronize(encoder.device)
    del frames, half
    return torch.cuda.max_memory_allocated(encoder.device) - before
