"""``config.json`` as hubs hold it: what concerns nobody is passed over, what is no size is told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from encoder_cases import CASES, fetch

from pianoeval.encoders.registry import create_encoder, encoder_spec
from pianoeval.errors import ConfigError
from pianoeval.params import CheckpointParams

Config = dict[str, Any]
KINDS = [kind for kind, case in CASES.items() if case.tiny]
kinds = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.usefixtures("checkpoint_cache")
COMMON: Config = {  # what transformers writes into every file
    "_name_or_path": "lab/model", "architectures": ["AModel"], "torch_dtype": "float16",
    "transformers_version": "4.30.0", "auto_map": {"AutoModel": "modeling_a.AModel"},
    "gradient_checkpointing": False, "id2label": {"0": "a"}, "bos_token_id": None,
}  # fmt: skip
OWN: dict[str, Config] = {
    "muq": {"num_codebooks": 1, "mask_prob": 0.6, "use_rvq_target": True, "rvq_ckpt_path": None},
    "mert": {"model_type": "mert_model", "mask_time_prob": 0.05, "feature_extractor_cqt": False,
             "feature_extractor_cqt_bins": 336, "attention_relax": -1.0, "deepnorm": False},
    "audiomae": {"architecture": "vit_base_patch16_224", "num_classes": 0, "num_features": 24,
                 "global_pool": "avg",
                 "pretrained_cfg": {"input_size": [1, 1024, 128], "mean": [-4.2677393],
                                    "fixed_input_size": True, "license": "cc-by-4.0"}},
    "dac": {"model_type": "dac", "hop_length": 512, "hidden_size": 64,
            "upsampling_ratios": [8, 8, 4, 2], "decoder_hidden_size": 96},
    "jukebox": {"model_type": "jukebox", "prior_configs": [{}], "nb_priors": 3},
}  # fmt: skip
SIZE: dict[str, tuple[str, ...]] = {  # one size, by its path
    "muq": ("w2v2_config", "intermediate_size"), "mert": ("hidden_size",),
    "audiomae": ("model_args", "num_heads"), "dac": ("encoder_hidden_size",),
    "jukebox": ("vqvae_config", "res_conv_width"),
}  # fmt: skip


def published(kind: str) -> tuple[Config, Any]:
    """The tiny checkpoint's configuration with all that a hub's would have beside it."""
    tiny = CASES[kind].tiny
    assert tiny is not None
    config, state = tiny()
    if kind == "jukebox":
        config = {"vqvae_config": {"model_type": "jukebox_vqvae", "levels": 3, **config}}
    for block in ("w2v2_config", "vqvae_config"):
        if block in config:
            config[block] = {**COMMON, **config[block]}
    if kind == "audiomae":
        config["model_args"] |= {"img_size": [1024, 128], "in_chans": 1, "global_pool": "avg",
                                 "num_classes": 0, "drop_path_rate": 0.1}  # fmt: skip
    return {**COMMON, **OWN[kind], **config}, state


def params(kind: str, digest: str) -> CheckpointParams:
    return CheckpointParams.model_validate({"kind": kind, "digest": digest, "chunk_s": 2.0})


@kinds
def test_what_concerns_nobody_is_passed_over(kind: str, tmp_path: Path) -> None:
    config, state = published(kind)
    half = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
    encoder = create_encoder(params(kind, fetch(kind, config, half, tmp_path / kind)), "mine")
    plain = params(kind, fetch(kind, CASES[kind].tiny()[0], state, tmp_path / "plain"))  # type: ignore[misc]
    assert encoder.spec.layer_names == encoder_spec(plain).layer_names
    assert encoder.spec.dim == encoder_spec(plain).dim


@kinds
@pytest.mark.parametrize("value", [None, "24", 0, -8, 1.5, True, [24], {}])
def test_what_is_no_size_is_refused_by_name(kind: str, value: Any, tmp_path: Path) -> None:
    config, state = published(kind)
    wrong = copy.deepcopy(config)
    *blocks, key = SIZE[kind]
    place = wrong
    for block in blocks:
        place = place[block]
    place[key] = value
    given = params(kind, fetch(kind, wrong, state, tmp_path / kind))
    with pytest.raises(ConfigError, match=key) as caught:
        encoder_spec(given, "mine")
    assert caught.value.where == "encoders.mine"
    assert caught.value.next_step
    for block in blocks:
        given = params(kind, fetch(kind, {**config, block: "text"}, state, tmp_path / "text"))
        with pytest.raises(ConfigError, match=block):
            encoder_spec(given, "mine")


def test_the_source_of_weights_is_what_is_pinned(tmp_path: Path) -> None:
    """A folder's weights are not those of the hub's model that the block names."""
    config, state = published("muq")
    digest = fetch("muq", config, state, tmp_path / "muq")
    for change, source in (
        ({"digest": digest}, "folder"),
        ({"digest": digest, "model": "a/b"}, "folder"),
        ({"digest": digest, "model": "a/b", "revision": "0" * 40}, f"a/b@{'0' * 40}"),
        ({"weights": "random", "seed": 3, "model": "a/b"}, "random, 3"),
    ):
        given = CheckpointParams.model_validate({"kind": "muq", **change})
        assert encoder_spec(given, "mine").weights_source == source
