"""The loop that a peer would write, over networks as their authors publish them.

    python benchmarks/peer.py ENCODER FOLDER OUT [--device cpu] [--threads 0]

One file at a time: ``librosa.load`` at the encoder's rate, pieces of 10 s, one call a piece with
PyTorch's default threads, all hidden states to the CPU and to one ``.pt`` a file. ``mert`` is
transformers' HubertModel; ``muq`` is the authors' package and needs the interpreter that
``make reference`` builds; ``ours-<encoder>`` is our own network in the same loop. The weights are
random where no real ones are at hand: they cost the same time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import librosa
import torch
from torch import Tensor

States = Callable[[Tensor], Tensor]
REFERENCE = Path(__file__).parents[1] / "tests" / "encoders" / "reference"
PIECE_S = 10


def hubert(device: str) -> tuple[States, int]:
    """MERT-95M's layers by transformers."""
    from transformers import HubertConfig, HubertModel

    model = HubertModel(HubertConfig(feat_proj_layer_norm=True)).eval().to(device)

    def states(audio: Tensor) -> Tensor:
        audio = (audio - audio.mean()) / (audio.var() + 1e-7).sqrt()
        return torch.stack(model(audio, output_hidden_states=True).hidden_states, 2)

    return states, 24_000


def muq(device: str) -> tuple[States, int]:
    """MuQ-large by the authors' package."""
    sys.path.append(str(REFERENCE))
    from stand_in import without_init

    without_init("muq")  # it imports the text model
    from muq.muq.muq import MuQ, MuQConfig

    # The published configuration; what training alone reads is left at its least.
    wav2vec = {
        "activation_dropout": 0.1, "attention_dropout": 0.1, "conformer_conv_dropout": 0.1,
        "feat_extract_activation": "gelu", "hidden_dropout": 0.1, "layerdrop": 0.0,
        "max_source_positions": 5000, "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16, "position_embeddings_type": "rotary",
        "rotary_embedding_base": 10000, "hidden_act": "swish", "num_attention_heads": 16,
        "hidden_size": 1024, "intermediate_size": 4096, "conv_depthwise_kernel_size": 31,
        "layer_norm_eps": 1e-5, "num_hidden_layers": 12,
    }  # fmt: skip
    stat = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}
    model = MuQ(MuQConfig(w2v2_config=wav2vec, stat=stat)).eval().to(device)

    def states(audio: Tensor) -> Tensor:
        return torch.stack(model(audio, output_hidden_states=True).hidden_states, 2)

    return states, 24_000


def own(encoder: str, device: str) -> tuple[States, int]:
    """Our network, in the peer's loop."""
    from extraction import make_params

    from pianoeval.encoders.registry import create_encoder

    params = make_params(encoder, "all", "float32", device).model_copy(update={"compile": False})
    model = create_encoder(params)
    return lambda audio: model.forward(audio, [audio.shape[1]]), model.spec.sample_rate_hz


def main() -> None:
    """Run the loop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", help="mert, muq, or ours-<encoder>")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0 = PyTorch's choice")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.encoder.startswith("ours-"):
        states, rate = own(given.encoder.removeprefix("ours-"), given.device)
    else:
        states, rate = {"mert": hubert, "muq": muq}[given.encoder](given.device)
    given.out.mkdir(parents=True)
    for path in sorted(given.folder.glob("*.wav")):
        audio, _ = librosa.load(path, sr=rate)
        found = []
        with torch.inference_mode():
            for begin in range(0, len(audio), PIECE_S * rate):
                piece = torch.from_numpy(audio[begin : begin + PIECE_S * rate])[None]
                if piece.shape[1] >= 8192:  # what is shorter, networks refuse
                    found.append(states(piece.to(given.device)).cpu())
        torch.save(torch.cat(found, 1), given.out / f"{path.stem}.pt")


if __name__ == "__main__":
    main()
