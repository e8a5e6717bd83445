"""Audio for rankers that adapt an encoder: the same takes as their views', heard anew."""

from __future__ import annotations

from collections.abc import Sequence

from pianoeval.errors import BadInputError, ConfigError
from pianoeval.params import EncoderParams, Params
from pianoeval.params_rank import LoraParams
from pianoeval.paths import CorpusPaths
from pianoeval.rankers.audio import TakeAudio
from pianoeval.rankings import Ranker
from pianoeval.store import RaggedStore


def take_audio(
    ranker: Ranker, clips: Sequence[str], params: Params, paths: CorpusPaths
) -> TakeAudio | None:
    """Audio of a ranker's clips and the encoder to adapt; None where nothing is adapted.

    Raises
    ------
    ConfigError
        No such encoder or instrument.
    BadInputError
        A clip of the views has no audio.
    PianoevalError
        There is no audio store, or it is damaged.
    """
    lora = ranker.params.lora
    approaches = {point.approach for point in ranker.params.points().values()}
    if lora is None or "lora" not in approaches:
        return None
    where = f"rank.rankers.{ranker.name}.lora"
    if lora.encoder not in params.encoders:
        raise ConfigError(
            f"unknown encoder '{lora.encoder}'", where=where,
            allowed=", ".join(sorted(params.encoders)), next_step="edit params.yaml",
        )  # fmt: skip
    if lora.instrument not in params.axes.instrument:
        raise ConfigError(
            f"instrument '{lora.instrument}' is not on axes.instrument", where=where,
            allowed=", ".join(params.axes.instrument), next_step="edit params.yaml",
        )  # fmt: skip
    store = RaggedStore(paths.audio(lora.instrument))
    if missing := sorted(set(clips) - set(store.clips)):
        raise BadInputError(
            f"{len(missing)} clips have no audio, among them '{missing[0]}'", where=store.path,
            next_step=f"dvc repro render@{paths.corpus}-{lora.instrument}",
        )  # fmt: skip
    encoder = heard_through(params.encoders[lora.encoder], lora)
    return TakeAudio(store, clips, encoder, lora.encoder)


def heard_through(encoder: EncoderParams, lora: LoraParams) -> EncoderParams:
    """The encoder's parameters with chunks of a crop each, on the ranker's device."""
    change = {
        "chunk_s": lora.crop_s, "overlap_s": 0.0, "last_chunk": "shifted", "layers": lora.layers,
        "device": lora.device, "compile": False,
    }  # fmt: skip
    changed: EncoderParams = type(encoder).model_validate({**encoder.model_dump(), **change})
    return changed
