"""Descript Audio Codec at 44.1 kHz as an encoder (Kumar et al., NeurIPS 2023).

Layer ``"latent"`` is what the encoder's convolutions give, before quantisation; ``"quantized"``
the sum of the decoded vectors of all codebooks, from which the decoder would make sound. Both have
one frame of 1024 values for every 512 samples (86.13 Hz).

The modules that hold the parameters, and the quantiser, are those of transformers (``DacEncoder``,
``DacResidualVectorQuantizer``); the order of operations in between is spelt out here, so that it
can run in tiles and with rows of different lengths.

Under ``bfloat16`` the convolutions are bfloat16, Snake activations and the residual stream float32.
It is refused for ``"quantized"``: an error in the latent makes other codes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pianoeval.checkpoints import load_state, open_checkpoint, read_config, strict_load
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.codecs.settings import SAMPLE_RATE_HZ, codec_spec
from pianoeval.encoders.codecs.tiles import (
    convolve,
    mask_tail,
    row_lengths,
    run_in_tiles,
    to_bfloat16,
)
from pianoeval.encoders.settings import check_sizes
from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.params import CheckpointParams

if TYPE_CHECKING:  # it takes seconds to import, and a specification does not need it
    from transformers import DacConfig
    from transformers.models.dac.modeling_dac import DacEncoderBlock, DacResidualUnit

CODE_VERSION = 1
RANDOM_VERSION = 1  # part of the key: raised when other weights come of the same seed
# config.json of descript/dac_44khz, as far as it concerns the encoder
DEFAULT_CONFIG: dict[str, Any] = {
    "encoder_hidden_size": 64,
    "downsampling_ratios": [2, 4, 8, 8],
    "n_codebooks": 9,
    "codebook_size": 1024,
    "codebook_dim": 8,
    "sampling_rate": SAMPLE_RATE_HZ,
}
# Samples of a stage computed at once. On a CPU 64 to 256 channels of it stay in the cache.
_TILE = {"cpu": 8192, "cuda": 65_536}
_REACH = 3 + 3 * (1 + 3 + 9)  # input convolution, and kernels of 7 dilated by 1, 3 and 9
_DRAWN_STD = 0.02


def dac_spec(params: CheckpointParams, name: str = "dac") -> EncoderSpec:
    """Specification; of the checkpoint only its configuration is read.

    10 s become 861 whole hops, 9.996 s.

    Raises
    ------
    ConfigError
        As :func:`~pianoeval.encoders.codecs.settings.codec_spec`; another model than the 44.1 kHz
        one.
    MissingAssetError
        The checkpoint has not been fetched.
    """
    config = _config(params, name)
    return codec_spec(
        params, name, hop=math.prod(config["downsampling_ratios"]),
        dim=config["encoder_hidden_size"] * 2 ** len(config["downsampling_ratios"]),
        code_version=CODE_VERSION, random_version=RANDOM_VERSION,
    )  # fmt: skip


class DacEncoder(Encoder):
    """DAC's encoder and, where ``"quantized"`` is wanted, its quantiser; never its decoder.

    Raises
    ------
    ConfigError
        As :func:`dac_spec`.
    MissingAssetError
        The checkpoint has not been fetched.
    CorruptDataError
        A parameter is missing, unexpected or misshapen.
    """

    masked = True

    def __init__(self, params: CheckpointParams, name: str = "dac") -> None:
        self.spec = dac_spec(params, name)
        self.device = torch.device(params.device)
        from transformers import DacConfig

        config = DacConfig(**_config(params, name))
        net = DacNet(config, quantized="quantized" in self.spec.layer_names)
        if params.weights == "pretrained":
            where = f"encoders.{name}"
            state = fold_weight_norm(load_state(open_checkpoint(params, name)), where)
            ignored = ["decoder."] if net.quantizer is not None else ["decoder.", "quantizer."]
            strict_load(net, state, where, ignored)
        else:
            draw_weights(net, params.seed)
        if params.precision == "bfloat16":
            to_bfloat16(net)  # there is no quantiser then
        self.net = net.eval().to(self.device)

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        lengths = row_lengths(n_samples, chunks.shape[1], chunks.device)
        latent = self.net.latent(chunks[:, None], lengths, _TILE[chunks.device.type])
        states = {"latent": latent}
        if self.net.quantizer is not None:
            states["quantized"] = self.net.quantizer(latent)[0]
        wanted = [states[layer].transpose(1, 2) for layer in self.spec.layer_names]
        return torch.stack(wanted, 2)


class DacNet(nn.Module):
    """The parameters under their published names, and the forward pass of the encoder."""

    def __init__(self, config: DacConfig, *, quantized: bool = True) -> None:
        super().__init__()
        from transformers.models.dac import modeling_dac

        with torch.device("meta"):  # every parameter is loaded or drawn
            self.encoder = modeling_dac.DacEncoder(config)
            self.quantizer = modeling_dac.DacResidualVectorQuantizer(config) if quantized else None
        self.to_empty(device="cpu").requires_grad_(False)
        self.strides = list(config.downsampling_ratios)

    def latent(self, x: Tensor, lengths: Tensor | None, tile: int) -> Tensor:
        """Encoder output (batch, dim, samples // hop) of audio (batch, 1, samples)."""
        for number, (block, stride) in enumerate(
            zip(self.encoder.block, self.strides, strict=True)
        ):

            def stage(
                x: Tensor, lengths: Tensor | None, block: Any = block, first: bool = number == 0
            ) -> Tensor:
                if first:
                    x = mask_tail(convolve(self.encoder.conv1, x), lengths)
                return _downsample(block, x, lengths)

            reach = _REACH + stride // 2
            x = run_in_tiles(stage, x, lengths, stride=stride, reach=reach, tile=tile)
            lengths = None if lengths is None else lengths // stride
        return convolve(self.encoder.conv2, self.encoder.snake1(x))


def _downsample(block: DacEncoderBlock, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Three residual units, Snake, and the strided convolution: samples // stride frames."""
    for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
        x = mask_tail(x + _residual(unit, x), lengths)
    x = convolve(block.conv1, block.snake1(x))
    return x if lengths is None else mask_tail(x, lengths // block.conv1.stride[0])


def _residual(unit: DacResidualUnit, x: Tensor) -> Tensor:
    return convolve(unit.conv2, unit.snake2(convolve(unit.conv1, unit.snake1(x))))


def fold_weight_norm(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Replace weight-normalised weights by what they amount to, g v / ‖v‖.

    The published file holds plain weights. Fine-tuned ones may hold ``weight_g`` and ``weight_v``,
    or ``parametrizations.weight.original0`` and ``original1`` (Salimans & Kingma 2016; norms over
    all axes but the first).

    Raises
    ------
    CorruptDataError
        One of the two is missing, or a weight is there in two spellings.
    """
    plain = dict(state)
    folded: dict[str, Tensor] = {}
    for g_end, v_end in (
        ("weight_g", "weight_v"),
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ):
        ends = (g_end, v_end)
        for base in {
            name.removesuffix(end) for name in plain for end in ends if name.endswith(end)
        }:
            try:
                g, v = plain.pop(base + g_end).float(), plain.pop(base + v_end).float()
            except KeyError as error:
                raise CorruptDataError(
                    f"a weight-normalised layer lacks the parameter {error}", where=where,
                    next_step="take another copy of the weights",
                ) from error  # fmt: skip
            if base + "weight" in state or base + "weight" in folded:
                raise CorruptDataError(
                    f"the weights hold a parameter in two spellings: {base}weight", where=where,
                    next_step="take another copy of the weights",
                )  # fmt: skip
            folded[base + "weight"] = g * v / v.flatten(1).norm(dim=1).view_as(g)
    return plain | folded


def draw_weights(net: nn.Module, seed: int) -> None:
    """As transformers draws the model before training: N(0, 0.02²), biases 0, Snake's α 1.

    Codebooks are N(0, 0.02²) too (descript's own are N(0, 1)): their decoded vectors then are as
    large as the latent, and every codebook quantises what the ones before it have left.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(net.named_parameters()):
        if name.endswith("alpha"):
            value.fill_(1.0)
        elif name.endswith("bias"):
            value.zero_()
        else:
            value.copy_(_DRAWN_STD * torch.randn(value.shape, generator=generator))


def _config(params: CheckpointParams, name: str) -> dict[str, Any]:
    """The keys of ``DEFAULT_CONFIG``, if they are of a model that this module knows."""
    found = DEFAULT_CONFIG if params.weights == "random" else read_config(params, name)
    # What a configuration leaves out is as in DacConfig; only its sample rate is another one.
    config = {key: found.get(key, value) for key, value in DEFAULT_CONFIG.items()}
    check_sizes(config, DEFAULT_CONFIG, f"encoders.{name}")
    kind, rate_hz = found.get("model_type", "dac"), found.get("sampling_rate")
    # An odd ratio would give other frames than samples // hop.
    odd = any(ratio % 2 for ratio in config["downsampling_ratios"])
    if kind != "dac" or rate_hz != SAMPLE_RATE_HZ or odd:
        raise ConfigError(
            f"the checkpoint is of type {kind}, {rate_hz} Hz, ratios "
            f"{config['downsampling_ratios']}", where=f"encoders.{name}",
            allowed="a DAC of 44100 Hz with even ratios, as descript/dac_44khz",
            next_step="edit 'model' in params.yaml",
        )  # fmt: skip
    return config
