"""Speed of the encoders on one core, beside what the core can do.

    python benchmarks/encoders.py [--repeats 5] [--only muq]

Prints, for each encoder and setting, seconds of audio a second of processor time (x RT), and
which share of the core's measured float32 matrix-product rate the network reaches. Processor
time of one thread is used, so that a busy machine disturbs little; the best of the repeats
counts. Ratios between rows are what to trust.

Then the parts of full-size MuQ on a chunk of 10 s, each beside the way its authors' package
computes it. FLOP are those of the network as published: Winograd's convolutions need fewer, so
their share can exceed the matrix rate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from pianoeval.encoders import linear
from pianoeval.encoders.base import Encoder
from pianoeval.encoders.muq.config import DEFAULT_CONFIG, HOP, MuqShape, random_state, read_shape
from pianoeval.encoders.muq.net import MuqNet
from pianoeval.encoders.muq.weights import LayerWeights, MuqWeights, ResidualWeights, StemWeights
from pianoeval.encoders.registry import create_encoder
from pianoeval.params import CheckpointParams, EncoderParams, MelParams, TranskunParams

SETTINGS: dict[str, EncoderParams] = {
    "transkun, all layers, float32": TranskunParams(),
    "transkun, layer 4, float32": TranskunParams(layers="4"),
    "transkun, all layers, bfloat16": TranskunParams(precision="bfloat16"),
    "transkun, layer 4, bfloat16": TranskunParams(layers="4", precision="bfloat16"),
    "mel": MelParams(),
    "muq, all layers, float32": CheckpointParams(kind="muq", weights="random"),
    "muq, all layers, bfloat16": CheckpointParams(
        kind="muq", weights="random", precision="bfloat16"
    ),
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


def muq_flop(shape: MuqShape, n_samples: int, depth: int) -> int:
    """FLOP of MuQ as published, up to layer ``depth``: products, convolutions, attention.

    Equal to the count of torch.utils.flop_counter over PyTorch's own operators, which is checked
    before it is used.
    """
    frames, bands, width = n_samples // HOP, shape.n_mels, shape.channels
    flop = 2 * frames * (1024 + 1) * bands  # mel bank
    into = 1
    for _ in range(2):
        frames, bands = -(-frames // 2), bands // 2
        flop += 2 * 9 * frames * bands * width * (2 * into + width)
        into = width
    dim = shape.dim
    flop += 2 * frames * width * bands * dim
    feed, attention = 4 * dim * shape.hidden, 4 * dim**2
    convolution = 3 * dim**2 + shape.kernel * dim
    return flop + depth * 2 * frames * (feed + attention + convolution + 2 * frames * dim)


def check_muq_flop() -> None:
    """Compare the formula with PyTorch's counter on a small network."""
    inner = {**DEFAULT_CONFIG["w2v2_config"], "num_attention_heads": 2, "intermediate_size": 48}
    config = {**DEFAULT_CONFIG, "conv_dim": 12, "encoder_dim": 24, "encoder_depth": 3,
              "w2v2_config": inner}  # fmt: skip
    net, shape = muq_net(config, torch.float32, fast=False)[1:]
    plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.inference_mode(), plain:
        net(torch.randn(1, 12_345), None, lambda *_: None)
    counted, said = counter.get_total_flops(), muq_flop(shape, 12_345, 3)
    if counted != said:
        raise AssertionError(f"FLOP of MuQ: {counted} counted, {said} by the formula")


def muq_net(
    config: dict[str, Any], dtype: torch.dtype, *, fast: bool
) -> tuple[MuqWeights, MuqNet, MuqShape]:
    """Random weights, and a network made of them."""
    shape = read_shape(config, "benchmark")
    state = random_state(shape, shape.n_layers, 0)
    kept, used = MuqWeights(shape, shape.n_layers), MuqWeights(shape, shape.n_layers)
    for weights in (kept, used):
        weights.load_state_dict(state)
    return kept.eval(), MuqNet(shape, used, dtype, fast=fast), shape


def published_stem(stem: StemWeights, mel: torch.Tensor) -> torch.Tensor:
    """As the package muq computes it: (batch, frames, bands), channels first, batch norms."""
    x = mel.transpose(1, 2)[:, None]
    for part in stem.conv:
        block = cast(ResidualWeights, part)
        y = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
        x = (block.bn3(block.conv3(x)) + y).relu()
    return stem.linear(x.permute(0, 3, 1, 2).flatten(2))


def published_layer(shape: MuqShape, weights: LayerWeights) -> Callable[[torch.Tensor], Any]:
    """transformers' Wav2Vec2-Conformer layer, with rotary positions."""
    from transformers import Wav2Vec2ConformerConfig
    from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as module

    config = Wav2Vec2ConformerConfig(
        hidden_size=shape.dim, num_attention_heads=shape.heads, intermediate_size=shape.hidden,
        hidden_act="swish", position_embeddings_type="rotary",
        conv_depthwise_kernel_size=shape.kernel,
    )  # fmt: skip
    layer = module.Wav2Vec2ConformerEncoderLayer(config).eval()
    layer.load_state_dict(weights.state_dict())
    positions = module.Wav2Vec2ConformerRotaryPositionalEmbedding(config)
    dtype = weights.ffn1.output_dense.weight.dtype
    layer.to(dtype)
    return lambda x: layer(x.to(dtype), relative_position_embeddings=positions(x).to(dtype))[0]


def muq_parts(dtype: torch.dtype, rate: float, repeats: int) -> None:
    """Print the parts of MuQ beside their published way, in the arithmetic of ``dtype``."""
    depth = {**DEFAULT_CONFIG, "encoder_depth": 1}
    kept, fast, shape = muq_net(depth, dtype, fast=True)
    folded = muq_net(depth, dtype, fast=False)[1]
    audio = 0.1 * torch.randn(1, 240_000, generator=torch.Generator().manual_seed(0))
    total = muq_flop(shape, 240_000, 1)
    layer_flop = total - muq_flop(shape, 240_000, 0)
    with torch.inference_mode():
        mel = fast.front(audio)
        x = fast.conv(mel)
        angles = fast._rotary(x)
        half = kept.to(dtype)
        layer = published_layer(shape, cast(LayerWeights, half.model.conformer.layers[0]))
        rows: dict[str, tuple[Callable[[], object], int]] = {
            "mel front end": (lambda: fast.front(audio), 0),
            "stem, as published": (
                lambda: published_stem(half.model.conv, mel.to(dtype)), total - layer_flop
            ),
            "stem, folded, channels last": (lambda: folded.conv(mel), total - layer_flop),
            "stem, Winograd": (lambda: fast.conv(mel), total - layer_flop),
            "a layer, transformers": (lambda: layer(x), layer_flop),
            "a layer, folded": (lambda: folded.layers[0](x, angles, None), layer_flop),
            "a layer, oneDNN": (lambda: fast.layers[0](x, angles, None), layer_flop),
        }  # fmt: skip
        print(f"\nMuQ, 10 s, {str(dtype).removeprefix('torch.')}")
        print(f"{'part':34}{'ms':>8}{'GFLOP':>8}{'of matrix rate':>17}")
        for name, (work, flop) in rows.items():
            seconds = best_s(work, repeats)
            share = f"{flop / seconds / rate:17.0%}" if flop else ""
            print(f"{name:34}{1000 * seconds:8.0f}{flop / 1e9:8.1f}{share}")


def count_flop(encoder: Encoder, chunk: np.ndarray) -> int:
    """FLOP of one chunk, counted over PyTorch's own operators; MuQ's by its formula."""
    if encoder.spec.kind == "muq":
        shape = read_shape(DEFAULT_CONFIG, "benchmark")
        return muq_flop(shape, chunk.shape[1], max(map(int, encoder.spec.layer_names)))
    fused, linear._ONEDNN = linear._ONEDNN, False
    try:
        with FlopCounterMode(display=False) as counter:
            encoder.encode(chunk)
    finally:
        linear._ONEDNN = fused
    return counter.get_total_flops()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="encoders whose name begins so")
    given = parser.parse_args()
    repeats = given.repeats
    torch.set_num_threads(1)
    rates = {dtype: matrix_rate(dtype, repeats) for dtype in (torch.float32, torch.bfloat16)}
    for dtype, rate in rates.items():
        print(f"matrix product, {str(dtype).removeprefix('torch.')}: {rate / 1e9:.0f} GFLOP/s")
    print(f"{'encoder':34}{'x RT':>8}{'GFLOP':>8}{'of matrix rate':>17}")
    check_muq_flop()
    for name, params in SETTINGS.items():
        if not name.startswith(given.only):
            continue
        encoder = create_encoder(params)
        spec = encoder.spec
        noise = np.random.default_rng(0).standard_normal((1, spec.chunk_samples))
        chunk = (0.1 * noise).astype(np.float32)
        seconds = best_s(lambda e=encoder, x=chunk: e.encode(x), repeats)
        flop = count_flop(encoder, chunk)
        share = flop / seconds / rates[getattr(torch, spec.precision)]
        print(f"{name:34}{spec.chunk_s / seconds:8.2f}{flop / 1e9:8.0f}{share:17.0%}")
        del encoder
    if "muq".startswith(given.only):
        for dtype, rate in rates.items():
            muq_parts(dtype, rate, repeats)


if __name__ == "__main__":
    main()
