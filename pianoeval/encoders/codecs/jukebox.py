"""Jukebox's VQ-VAE as an encoder (Dhariwal et al. 2020): its top level, 345 Hz.

Layer ``"latent"`` is the encoder's output before quantisation; ``"quantized"`` the nearest of 2048
codes. Both have one frame of 64 values for every 128 samples at 44.1 kHz (344.5 Hz). Priors,
decoders and the finer levels are neither run nor kept.

Weights: a file in the layout of transformers' JukeboxModel or JukeboxVQVAE (``vqvae.encoders.2.…``,
as openai/jukebox-1b-lyrics), or OpenAI's ``vqvae.pth.tar``; both hold more than is used here.

Under ``bfloat16`` the convolutions are bfloat16, the residual stream float32. It is refused for
``"quantized"``: an error in the latent makes other codes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pianoeval.checkpoints import load_state, open_checkpoint, read_config, strict_load
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.codecs.jukebox_net import (
    LEVEL,
    TILE,
    JukeboxConfig,
    JukeboxNet,
    quantize,
    read_net_config,
)
from pianoeval.encoders.codecs.settings import SAMPLE_RATE_HZ, codec_spec
from pianoeval.encoders.codecs.tiles import row_lengths, to_bfloat16
from pianoeval.params import CheckpointParams

CODE_VERSION = 1
RANDOM_VERSION = 1  # part of the key: raised when other weights come of the same seed
DEFAULT_CONFIG = JukeboxConfig()
_MINE = f"encoders.{LEVEL}."
_CODES = f"bottleneck.level_blocks.{LEVEL}."
_UNUSED = ("encoders.", "decoders.", "bottleneck.")  # of the VQ-VAE, unless they are of this level
# The sound that random codes are drawn from: notes of this many frames, and what is dropped at
# both ends of it, where the encoder sees zero padding (82 frames).
_NOTE_FRAMES, _EDGE_FRAMES = 32, 96


def jukebox_spec(params: CheckpointParams, name: str = "jukebox") -> EncoderSpec:
    """Specification; of the checkpoint only its configuration is read.

    10 s become 3445 whole hops, 9.999 s.

    Raises
    ------
    ConfigError
        As :func:`~pianoeval.encoders.codecs.settings.codec_spec`; a VQ-VAE that is not known.
    MissingAssetError
        The checkpoint has not been fetched.
    """
    config = _config(params, name)
    return codec_spec(
        params, name, hop=config.hop, dim=config.embed_dim, code_version=CODE_VERSION,
        random_version=RANDOM_VERSION,
    )  # fmt: skip


class JukeboxEncoder(Encoder):
    """Top level of Jukebox's VQ-VAE.

    Raises
    ------
    ConfigError
        As :func:`jukebox_spec`.
    MissingAssetError
        The checkpoint has not been fetched.
    CorruptDataError
        A parameter is missing, unexpected or misshapen.
    """

    masked = True

    def __init__(self, params: CheckpointParams, name: str = "jukebox") -> None:
        self.spec = jukebox_spec(params, name)
        self.device = torch.device(params.device)
        config, quantized = _config(params, name), "quantized" in self.spec.layer_names
        if params.weights == "pretrained":
            net = JukeboxNet(config, quantized=quantized)
            state = top_level(load_state(open_checkpoint(params, name)), codes=quantized)
            strict_load(net, state, f"encoders.{name}")
        else:
            net = random_net(config, params.seed, quantized=quantized)
        if params.precision == "bfloat16":
            to_bfloat16(net)
        self.net = net.eval().to(self.device)

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        lengths = row_lengths(n_samples, chunks.shape[1], chunks.device)
        latent = self.net.latent(chunks[:, None], lengths, TILE[chunks.device.type])
        states = {"latent": latent}
        if self.net.bottleneck is not None:
            states["quantized"] = quantize(latent, self.net.codebook)
        wanted = [states[layer].transpose(1, 2) for layer in self.spec.layer_names]
        return torch.stack(wanted, 2)


def top_level(state: Mapping[str, Tensor], *, codes: bool) -> dict[str, Tensor]:
    """Parameters of the top level's encoder (and codes), under transformers' names.

    Names that belong to no part of Jukebox are left in, so that loading refuses them.
    """
    found = {}
    vqvae = any(name.startswith("vqvae.") for name in state)
    for name, value in state.items():
        if vqvae and name.startswith("priors."):
            continue
        name = _published_name(name.removeprefix("vqvae."))
        mine = name.startswith(_MINE) or (codes and name.startswith(_CODES))
        if mine or not name.startswith(_UNUSED):
            found[name] = value
    return found


def _published_name(name: str) -> str:
    """OpenAI's name of a parameter of an encoder to transformers' name."""
    block = r"(encoders\.\d+\.level_blocks\.\d+)\.model\.(\d+)"
    if unit := re.fullmatch(rf"{block}\.1\.model\.(\d+)\.model\.([13])\.(\w+)", name):
        where, step, number, conv, part = unit.groups()
        conv = "conv1d_1" if conv == "1" else "conv1d_2"
        place = f"downsample_block.{2 * int(step) + 1}.resnet_block.{number}.{conv}"
        return f"{where}.{place}.{part}"
    if down := re.fullmatch(rf"{block}\.0\.(\w+)", name):
        where, step, part = down.groups()
        return f"{where}.downsample_block.{2 * int(step)}.{part}"
    if out := re.fullmatch(rf"{block}\.(weight|bias)", name):
        return f"{out[1]}.proj_out.{out[3]}"
    return re.sub(r"^(bottleneck\.level_blocks\.\d+)\.k$", r"\1.codebook", name)


def random_net(config: JukeboxConfig, seed: int, *, quantized: bool = True) -> JukeboxNet:
    """A network that has learned nothing, drawn from ``seed``.

    Weights are U(±√(3/fan-in)), which keeps the variance, divided by √n in the second convolution
    of each of the n residual units, so that these do not pile up; biases are 0. (The authors train
    from PyTorch's default; its biases drown the sound: frames then differ by 0.1 % of their mean,
    which float16 cannot hold.) Codes begin, as the authors' do (``BottleneckBlock.init_k``), as
    frames of what is encoded first; here that is synthetic sound.
    """
    net = JukeboxNet(config, quantized=quantized)
    generator = torch.Generator().manual_seed(seed)
    units = sum(config.res_downs_t) * config.depth
    for name, value in sorted(net.encoders.named_parameters()):
        if name.endswith("bias"):
            value.zero_()
        else:
            variance = 1 / value[0].numel() / (units if "conv1d_2" in name else 1)
            bound = math.sqrt(3 * variance)
            value.copy_((2 * torch.rand(value.shape, generator=generator) - 1) * bound)
    if quantized:
        frames = config.nb_discrete_codes + 2 * _EDGE_FRAMES
        sound = _notes(frames * config.hop, _NOTE_FRAMES * config.hop, generator)
        latent = net.latent(sound[None, None], None, TILE["cpu"])[0]
        net.codebook.copy_(latent[:, _EDGE_FRAMES:-_EDGE_FRAMES].T)
    return net


def _notes(n_samples: int, note: int, generator: torch.Generator) -> Tensor:
    """Notes one after another: 27.5 Hz to 4.2 kHz and -50 to -6 dB, evenly in the logarithm.

    Each is eight harmonics that fall as 1/h and fade to 1/e within the note.
    """
    shape = (-(-n_samples // note), 8, 1)
    time = torch.arange(note) / SAMPLE_RATE_HZ
    harmonic = torch.arange(1, 9)[:, None]
    one = torch.rand((2, shape[0], 1, 1), generator=generator)
    hertz = 27.5 * 2 ** (7.25 * one[0]) * harmonic
    gain = 10 ** ((-50 + 44 * one[1]) / 20) / harmonic * (hertz < SAMPLE_RATE_HZ / 2)
    phase = 2 * math.pi * torch.rand(shape, generator=generator)
    sines = gain * torch.sin(2 * math.pi * hertz * time + phase)
    return (sines.sum(1) * (-time * SAMPLE_RATE_HZ / note).exp()).flatten()[:n_samples]


def _config(params: CheckpointParams, name: str) -> JukeboxConfig:
    if params.weights == "random":
        return DEFAULT_CONFIG
    return read_net_config(read_config(params, name), f"encoders.{name}")
