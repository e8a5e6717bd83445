"""What is known of an encoder without running it: its contract, its weights, whether it can run."""

from __future__ import annotations

from dataclasses import dataclass

from pianoeval.assets import asset_path, pinned
from pianoeval.checkpoints import find_checkpoint, is_non_commercial, licence_of
from pianoeval.encoders.base import EncoderSpec
from pianoeval.encoders.registry import (
    check_cuda,
    encoder_spec,
    needs_checkpoint,
    required_assets,
)
from pianoeval.errors import CorruptDataError, MissingAssetError, PianoevalError
from pianoeval.params import CheckpointParams, EncoderParams

# The models whose published configuration is each kind's default.
_PUBLISHED = {
    "muq": "OpenMuQ/MuQ-large-msd-iter",
    "mert": "m-a-p/MERT-v1-95M",
    "dac": "descript/dac_44khz",
    "audiomae": "gaunernst/vit_base_patch16_1024_128.audiomae_as2m",
    "jukebox": "openai/jukebox-1b-lyrics",
}


@dataclass(frozen=True)
class EncoderFacts:
    """One encoder of ``params.yaml``.

    Attributes
    ----------
    weights : str
        Where they come from.
    licence : str
        Of the weights; empty where there are none.
    digest : str
        Hash of the weights; empty where there are none, or none are pinned.
    ready : bool
        Whether it can run here.
    problem, next_step : str
        Why not, and the next command.
    spec : EncoderSpec or None
        Its contract; of the published model while its own checkpoint is absent (``assumed``),
        None where that is not known either.
    assumed : bool
    """

    name: str
    kind: str
    weights: str
    licence: str
    digest: str
    ready: bool
    problem: str
    next_step: str
    spec: EncoderSpec | None
    assumed: bool

    @property
    def non_commercial(self) -> bool:
        return is_non_commercial(self.licence)


def encoder_facts(name: str, params: EncoderParams) -> EncoderFacts:
    """Facts of one encoder; what is missing is told, not raised."""
    problem, next_step = "", ""
    try:
        check_ready(name, params)
    except PianoevalError as error:
        allowed = f" (allowed: {error.allowed})" if error.allowed else ""
        problem, next_step = error.what + allowed, error.next_step or ""
    spec, assumed = known_spec(name, params)
    weights, licence, digest = weights_of(name, params)
    return EncoderFacts(
        name, params.kind, weights, licence, digest, not problem, problem, next_step, spec, assumed
    )


def check_ready(name: str, params: EncoderParams) -> None:
    """Raise what would keep the encoder from running here; the weights are not read."""
    for asset in required_assets(params):
        asset_path(asset)
    if isinstance(params, CheckpointParams) and needs_checkpoint(params):
        try:
            find_checkpoint(params, name)
        except MissingAssetError:
            if params.model == _PUBLISHED[params.kind]:
                encoder_spec(_as_published(params), name)  # its settings can be judged without
            raise
    encoder_spec(params, name)
    if params.device == "cuda":
        check_cuda(name)


def known_spec(name: str, params: EncoderParams) -> tuple[EncoderSpec | None, bool]:
    """The contract, and whether it is assumed to be the published one for want of a checkpoint."""
    try:
        return encoder_spec(params, name), False
    except (MissingAssetError, CorruptDataError):
        if not isinstance(params, CheckpointParams) or params.model != _PUBLISHED[params.kind]:
            return None, False
    except PianoevalError:
        return None, False
    try:
        return encoder_spec(_as_published(params), name), True
    except PianoevalError:
        return None, False


def _as_published(params: CheckpointParams) -> CheckpointParams:
    """Random weights, whose configuration is that of the published model."""
    return params.model_copy(update={"weights": "random", "digest": ""})


def weights_of(name: str, params: EncoderParams) -> tuple[str, str, str]:
    """Where the weights come from, their licence and their hash, as far as they are pinned."""
    if assets := required_assets(params):
        [asset] = [pinned(name) for name in assets]
        return f"{asset.package} {asset.version}", asset.licence, asset.sha256
    if not isinstance(params, CheckpointParams):
        drawn = getattr(params, "weights", "") == "random"
        return ("random" if drawn else "none needed"), "", ""
    if params.weights == "random":
        return "random", "", ""
    try:
        found = find_checkpoint(params, name)
    except PianoevalError:
        at = f"@{params.revision}" if params.revision else ""
        return (params.model + at) or "folder", licence_of(params), params.digest
    return found.source, licence_of(params, found.licence), found.digest
