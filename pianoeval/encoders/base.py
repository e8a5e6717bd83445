"""The contract of a frozen encoder: what it is (EncoderSpec) and what it computes (Encoder).

An encoder turns chunks of mono audio into frames, each a vector for every wanted layer.
Everything else (reading audio, placing chunks, batching, storing) is the same for all encoders.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import BadInputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is; every field but ``name`` and ``weights_source`` is part of its key.

    Parameters
    ----------
    name : str
        The user's name for it, as in ``params.yaml``.
    kind : str
        Family, as in the registry.
    sample_rate_hz : int
        Rate the encoder must be fed at.
    chunk_samples, period_samples, min_samples : int
        Longest input of one call, distance between two frames, and shortest input.
    layer_names : tuple of str
        Wanted layers, in the order of the layer axis.
    dim : int
        Values a frame and layer.
    precision : str
        Arithmetic of the network, ``float32`` or ``bfloat16``.
    weights_sha256 : str
        Hash of the weights; empty where there are none or they are drawn at random.
    code_version : int
        Raised whenever the code changes the numbers.
    options : tuple of (str, int or str)
        Whatever else of this kind changes the numbers.
    weights_source : str
        Where the weights come from, for people.
    span_samples : int
        A frame exists where so many samples follow its start.
    frame_group : int
        Frames that stand for the same time (bands of one step); chunks are cut between groups.
    overlap_frames : int
        Frames that neighbouring chunks share, a multiple of ``frame_group``.
    device : str
        ``cpu`` or ``cuda``.
    last_chunk : str
        Of a clip longer than a chunk: ``shifted`` back, to be as long as the others, or ``short``.
    compiled : bool
        Whether ``torch.compile`` may fuse operations.
    """

    name: str
    kind: str
    sample_rate_hz: int
    chunk_samples: int
    period_samples: int
    min_samples: int
    layer_names: tuple[str, ...]
    dim: int
    precision: str
    weights_sha256: str
    code_version: int
    options: tuple[tuple[str, int | str], ...] = ()
    weights_source: str = "none"
    span_samples: int = 1
    frame_group: int = 1
    overlap_frames: int = 0
    last_chunk: str = "shifted"
    device: str = "cpu"
    compiled: bool = False

    @property
    def chunk_s(self) -> float:
        """Length of a chunk."""
        return self.chunk_samples / self.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.period_samples

    @property
    def chunk_frames(self) -> int:
        """Frames of a full chunk."""
        return self.n_frames(self.chunk_samples)

    def n_frames(self, n_samples: int) -> int:
        """Frames of ``n_samples``: one a period, while ``span_samples`` are left for it.

        A span of 1 gives ``ceil(n_samples / period_samples)``. Frames come in whole groups.
        """
        steps = (n_samples - self.span_samples) // (self.period_samples * self.frame_group) + 1
        return max(steps, 0) * self.frame_group

    def config(self) -> dict[str, Any]:
        """What changes the numbers beside the audio, the weights and the code version."""
        rare = {
            "overlap_frames": (self.overlap_frames, 0),
            "last_chunk": (self.last_chunk, "shifted"),
            "device": (self.device, "cpu"),
            "compiled": (self.compiled, False),
        }
        return {
            "sample_rate_hz": self.sample_rate_hz,
            "chunk_samples": self.chunk_samples,
            "period_samples": self.period_samples,
            "layers": list(self.layer_names),
            "precision": self.precision,
            **{name: value for name, (value, default) in rare.items() if value != default},
            **dict(self.options),
        }


class Encoder(ABC):
    """A frozen encoder, ready to run.

    ``masked`` tells whether rows of different lengths can share a batch.
    """

    masked: ClassVar[bool] = False
    spec: EncoderSpec
    device: torch.device

    def encode(
        self, chunks: NDArray[np.float32], n_samples: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Encode chunks; they do not see each other.

        Parameters
        ----------
        chunks : float32, shape (batch, samples)
            Mono audio at ``spec.sample_rate_hz``, full scale 1. Rows that are shorter than
            others end with zeros.
        n_samples : sequence of int, optional
            Real length of each row; all of it unless told. Only encoders that are ``masked``
            take rows of different lengths.

        Returns
        -------
        float32, shape (batch, frames, layers, dim)
            ``frames = spec.n_frames(samples)``; only the wanted layers. Of a shorter row,
            frames after its own ``spec.n_frames(n)`` mean nothing.

        Raises
        ------
        BadInputError
            Too short or too long, or a sample that is not finite.
        """
        import torch

        from pianoeval.encoders.exact import exact_float32

        lengths = self.checked(chunks, n_samples)
        audio = torch.from_numpy(np.ascontiguousarray(chunks, dtype=np.float32))
        with torch.inference_mode(), exact_float32():
            frames = self.forward(audio.to(self.device), lengths)
        done: NDArray[np.float32] = frames.float().cpu().numpy()
        return done

    def checked(
        self, chunks: NDArray[np.float32], n_samples: Sequence[int] | None = None
    ) -> list[int]:
        """Length of every row; raises BadInputError as :meth:`encode`."""
        spec = self.spec
        if chunks.ndim != 2 or not spec.min_samples <= chunks.shape[1] <= spec.chunk_samples:
            raise BadInputError(
                f"{spec.kind} was given audio of shape {chunks.shape}",
                allowed=f"(batch, {spec.min_samples} to {spec.chunk_samples} samples at "
                f"{spec.sample_rate_hz} Hz)",
            )
        whole = chunks.shape[1]
        lengths = [whole] * len(chunks) if n_samples is None else [int(n) for n in n_samples]
        if len(lengths) != len(chunks) or not all(spec.min_samples <= n <= whole for n in lengths):
            raise BadInputError(f"{spec.kind} was told row lengths {lengths}, of {chunks.shape}")
        if not self.masked and any(n < whole for n in lengths):
            raise BadInputError(f"{spec.kind} takes rows of one length only")
        if not np.isfinite(chunks).all():
            raise BadInputError("the audio holds a sample that is not finite")
        return lengths

    @abstractmethod
    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        """As :meth:`encode`, for checked float32 audio on ``device``; the result stays there."""
