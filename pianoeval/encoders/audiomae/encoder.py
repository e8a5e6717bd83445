"""Audio-MAE as an encoder: patches of a spectrogram, seen by a vision transformer.

Huang et al., "Masked autoencoders that listen", NeurIPS 2022. Audio at 16 kHz
becomes 128 log-mel bands every 10 ms (:mod:`pianoeval.encoders.audiomae.fbank`), and
``(x + 4.2677393) / (2 * 4.5689974)``. Patches of 160 ms by 16 bands are the tokens: eight for
each step of 160 ms, from the lowest bands to the highest. They are stored as frames in that
order, ``frame_group = 8``, 50 a second. (Zhang et al. 2024, Table 1, count 512 tokens in 10 s:
51.2 a second; of these, 10.24 s are spanned.)

Layers: ``"0"`` is the input of the first block, patches and positions; ``"1"`` to ``"12"`` are the
blocks' outputs, and ``"12"`` has passed the final norm if the checkpoint holds one (a fine-tuned
one, whose norm follows pooling, does not). The class token is attended to, and not stored.

The authors append zeros to shorter audio up to 1024 spectrogram frames. Here zeros are never
appended: there are fewer patches, with the positions of the beginning. A step needs 16 whole
spectrogram frames, 2800 samples. They also take the clip's mean out first, which changes nothing:
the filter bank takes out that of each of its frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pianoeval.checkpoints import load_state, open_checkpoint, read_config, strict_load
from pianoeval.encoders.audiomae.fbank import KaldiFbank
from pianoeval.encoders.audiomae.net import PATCH, VitConfig, VitNet, random_state
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.settings import (
    check_sizes,
    checkpoint_fields,
    overlap_frames,
    sub_block,
)
from pianoeval.encoders.taps import Taps
from pianoeval.errors import ConfigError
from pianoeval.params import CheckpointParams

CODE_VERSION = 1
RANDOM_VERSION = 1
SAMPLE_RATE_HZ = 16_000
N_MELS = 128
BANDS = N_MELS // PATCH
STEP = PATCH * 160  # samples
SPAN = STEP + 240  # 16 spectrogram frames of 400 samples, one every 160
MEAN, STD = -4.2677393, 4.5689974  # of AudioSet's spectrograms
DEFAULT_CONFIG = VitConfig()
_NOT_USED = (  # class heads, and the decoder of the pre-trained checkpoint
    "head.", "fc_norm.", "mask_token", "decoder_embed.", "decoder_pos_embed", "decoder_blocks.",
    "decoder_norm.", "decoder_pred.",
)  # fmt: skip
_ARGUMENTS = {"embed_dim": 768, "depth": 12, "num_heads": 12, "mlp_ratio": 4}
# Of timm's arguments, what has no say here: dropout, what follows the blocks, and whether a norm
# stands before or behind pooling, which the parameters tell.
_HARMLESS = (
    "global_pool", "num_classes", "img_size", "in_chans", "fc_norm", "dynamic_img_size",
    "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate",
    "drop_path_rate",
)  # fmt: skip


def audiomae_spec(params: CheckpointParams, name: str = "audiomae") -> EncoderSpec:
    """Specification; ``chunk_s`` is rounded to whole steps of 160 ms, at most 64.

    A chunk has 240 samples more than its steps, for the last spectrogram window: 64 steps are
    10.255 s of audio, and chunks advance by 10.24 s.

    Raises
    ------
    ConfigError
        An unknown layer, chunks of no step or of more than the network has positions for, or a
        configuration that is not Audio-MAE's.
    MissingAssetError
        The checkpoint has not been fetched.
    """
    config = _config(params, name)
    steps, most = round(params.chunk_s * SAMPLE_RATE_HZ / STEP), config.grid[0]
    if not 1 <= steps <= most:
        raise ConfigError(
            f"chunk_s is {params.chunk_s:g}", where=f"encoders.{name}",
            allowed=f"{STEP / SAMPLE_RATE_HZ:g} to {most * STEP / SAMPLE_RATE_HZ:g} s, as many "
            "steps as the network has positions for",
            next_step="edit params.yaml",
        )  # fmt: skip
    names = [str(i) for i in range(config.depth + 1)]
    rate = BANDS * SAMPLE_RATE_HZ / STEP
    return EncoderSpec(
        **checkpoint_fields(params, name, names, RANDOM_VERSION),
        kind="audiomae",
        sample_rate_hz=SAMPLE_RATE_HZ,
        chunk_samples=steps * STEP + SPAN - STEP,
        period_samples=STEP // BANDS,
        min_samples=SPAN,
        dim=config.dim,
        code_version=CODE_VERSION,
        span_samples=SPAN,
        frame_group=BANDS,
        overlap_frames=overlap_frames(params, name, rate, steps * BANDS, BANDS),
    )


class AudioMaeEncoder(Encoder):
    """Audio-MAE, from a checkpoint or drawn at random.

    In bfloat16 the matrix products of the transformer are; spectrogram, residual stream and layer
    norms stay float32.

    Raises
    ------
    MissingAssetError
        The checkpoint has not been fetched.
    CorruptDataError
        A parameter is missing, unexpected or misshapen.
    """

    masked = True

    def __init__(self, params: CheckpointParams, name: str = "audiomae") -> None:
        self.spec = audiomae_spec(params, name)
        self.device = torch.device(params.device)
        config = _config(params, name)
        self._taps = Taps(self.spec)
        depth = self._taps.depth  # blocks after the last wanted one are not run
        if params.weights == "random":
            state = random_state(config, depth, params.seed)
        else:
            state = plain_names(load_state(open_checkpoint(params, name)))
        pooled = "fc_norm.weight" in state and "norm.weight" not in state
        net = VitNet(config, depth, final_norm=depth == config.depth and not pooled)
        later = tuple(f"blocks.{i}." for i in range(depth, config.depth))
        unused = (*_NOT_USED, *later, *(() if net.final_norm else ("norm.",)))
        strict_load(net, state, f"encoders.{name}", ignored=unused)
        net.cast(torch.bfloat16 if params.precision == "bfloat16" else torch.float32)
        self._net = net.eval().requires_grad_(False).to(self.device)
        self._fbank = KaldiFbank(SAMPLE_RATE_HZ, N_MELS).to(self.device)

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        frames = self.spec.n_frames(chunks.shape[1])
        image, rows = self._image(chunks, n_samples, frames // BANDS)
        tap, out = self._taps.open(chunks)
        self._net(image, rows, tap)
        return out

    def _image(
        self, chunks: Tensor, n_samples: Sequence[int], steps: int
    ) -> tuple[Tensor, Tensor | None]:
        """Standardised spectrogram (batch, 16 steps, mels); real steps a row where they differ."""
        image = (self._fbank(chunks)[:, : steps * PATCH] - MEAN) / (2 * STD)
        if min(n_samples) == chunks.shape[1]:  # then nothing has to be copied to the device
            return image, None
        real = [self.spec.n_frames(n) // BANDS for n in n_samples]
        return image, torch.tensor(real).to(chunks.device)


def plain_names(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Names of timm's vision transformer; some checkpoints wrap it in a module ``encoder``."""
    prefix = "encoder."
    if state and all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def read_vit_config(config: Mapping[str, Any], where: str) -> VitConfig:
    """The network of a ``config.json``: timm's, one that wraps it, or none (``{}``).

    Raises
    ------
    ConfigError
        A setting that would change the network and is not known here.
    """
    given = sub_block(config, "model_args", where)
    pretrained = sub_block(config, "pretrained_cfg", where)
    image = pretrained.get("input_size") or [
        config.get("in_chans", given.get("in_chans", 1)),
        *_pair(config.get("img_size", given.get("img_size", DEFAULT_CONFIG.image))),
    ]
    for harmless in _HARMLESS:
        given.pop(harmless, None)
    wrong = [
        *(f"{key}: {value}" for key, value in given.items() if key not in _ARGUMENTS),
        *([f"input of {image}"] if not _fits(image) else []),
    ]
    if config.get("architecture", "vit_base_patch16_224") != "vit_base_patch16_224":
        wrong.append(f"architecture: {config['architecture']}")
    if wrong:
        raise ConfigError(
            f"the checkpoint's config.json says {', '.join(wrong)}", where=where,
            allowed="vit_base_patch16_224 over 1 x time x 128, time in multiples of 16; model_args "
            + ", ".join(_ARGUMENTS),
            next_step="choose an Audio-MAE checkpoint with 'model' and 'revision' in params.yaml",
        )  # fmt: skip
    if isinstance(given.get("mlp_ratio"), float) and given["mlp_ratio"].is_integer():
        given["mlp_ratio"] = int(given["mlp_ratio"])
    check_sizes(given, _ARGUMENTS, where)
    return VitConfig(
        dim=given.get("embed_dim", DEFAULT_CONFIG.dim),
        depth=given.get("depth", DEFAULT_CONFIG.depth),
        heads=given.get("num_heads", DEFAULT_CONFIG.heads),
        mlp_ratio=given.get("mlp_ratio", DEFAULT_CONFIG.mlp_ratio),
        image=(image[1], image[2]),
    )


def _pair(size: Any) -> Any:
    """timm lets one number stand for both sides."""
    return size if isinstance(size, list | tuple) else (size, size)


def _fits(image: Any) -> bool:
    sizes = isinstance(image, list) and len(image) == 3 and all(type(n) is int for n in image)
    return sizes and image[0] == 1 and image[1] % PATCH == 0 < image[1] and image[2] == N_MELS


def _config(params: CheckpointParams, name: str) -> VitConfig:
    if params.weights == "random":
        return DEFAULT_CONFIG
    return read_vit_config(read_config(params, name), f"encoders.{name}")
