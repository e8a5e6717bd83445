"""Log-mel spectrogram as an encoder: the baseline that has learned nothing.

nnAudio's MelSpectrogram (Cheuk et al., IEEE Access 2020), power, Slaney scale and area
normalisation, Hann window, then ``ln(mel + 1e-5)``. Unlike the learned encoders it hears
loudness. Frame ``i`` of a chunk is centred on sample ``i * hop``; at both ends of a chunk the
transform sees the chunk mirrored. A transform longer than the window (``fft_frames``) has zeros
on both sides of it: it resolves no more, but interpolates, so that no band is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from nnAudio.features.mel import MelSpectrogram
from torch import Tensor, device

from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.layers import parse_layers
from pianoeval.encoders.settings import common_fields, overlap_frames
from pianoeval.errors import ConfigError
from pianoeval.params import MelParams

CODE_VERSION = 1
LAYERS = ("1",)
FMIN_HZ = 30.0
FMAX_HZ = 16_000.0
FLOOR = 1e-5  # above the quantisation noise of 16-bit audio in every band


def mel_spec(params: MelParams, name: str = "mel") -> EncoderSpec:
    """Specification; ``chunk_s`` is rounded to whole hops.

    Raises
    ------
    ConfigError
        bfloat16 or compilation, a hop longer than the window, a transform shorter than it, a
        chunk shorter than the transform.
    """
    steps = round(params.chunk_s * params.sample_rate_hz / params.hop_frames)
    n_fft = params.fft_frames or params.window_frames
    for wrong, what, allowed in (
        (params.precision != "float32", f"precision is {params.precision}", "float32 for mel"),
        (params.compile, "compile is true", "compile: false for mel"),
        (
            params.hop_frames > params.window_frames,
            f"hop_frames is {params.hop_frames}", f"at most window_frames ({params.window_frames})",
        ),
        (
            n_fft < params.window_frames,
            f"fft_frames is {n_fft}", f"at least window_frames ({params.window_frames}), or 0",
        ),
        (
            steps * params.hop_frames < n_fft,
            f"chunk_s is {params.chunk_s:g}", "at least one window",
        ),
    ):  # fmt: skip
        if wrong:
            raise ConfigError(
                what, where=f"encoders.{name}", allowed=allowed, next_step="edit params.yaml"
            )
    rate = params.sample_rate_hz / params.hop_frames
    longer = (("fft_frames", n_fft),) if n_fft > params.window_frames else ()
    return EncoderSpec(
        **common_fields(params, name),
        kind="mel",
        sample_rate_hz=params.sample_rate_hz,
        chunk_samples=steps * params.hop_frames,
        period_samples=params.hop_frames,
        min_samples=n_fft,
        layer_names=tuple(LAYERS[i] for i in parse_layers(params.layers, LAYERS)),
        dim=params.n_mels,
        weights_sha256="",
        code_version=CODE_VERSION,
        options=(("window_frames", params.window_frames), ("n_mels", params.n_mels), *longer),
        overlap_frames=overlap_frames(params, name, rate, steps),
    )


class MelEncoder(Encoder):
    """Log-mel spectrogram.

    Raises
    ------
    ConfigError
        More bands than the transform resolves: one of them would be empty.
    """

    def __init__(self, params: MelParams, name: str = "mel") -> None:
        self.spec = mel_spec(params, name)
        self.device = device(params.device)
        n_fft = self.spec.min_samples
        self._mel = MelSpectrogram(
            sr=params.sample_rate_hz,
            n_fft=n_fft,
            win_length=params.window_frames,
            hop_length=params.hop_frames,
            n_mels=params.n_mels,
            fmin=FMIN_HZ,
            fmax=min(FMAX_HZ, params.sample_rate_hz / 2),
            center=True,
            pad_mode="reflect",
            verbose=False,
        ).to(self.device)
        if not (self._mel.mel_basis > 0).any(dim=1).all():
            raise ConfigError(
                f"{params.n_mels} mel bands are too many for a transform of {n_fft}",
                where=f"encoders.{name}", next_step="lower n_mels or raise fft_frames",
            )  # fmt: skip

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        mel: Tensor = self._mel(chunks)  # (batch, mels, frames)
        frames = mel[..., : self.spec.n_frames(chunks.shape[1])].add(FLOOR).log_()
        return frames.transpose(1, 2)[:, :, None]
