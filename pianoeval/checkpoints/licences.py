"""Under which licence weights are, as far as it is known."""

from __future__ import annotations

from pianoeval.params import CheckpointParams

# By hub id; docs/encoders.md says where each was read. Where sources differ, the stricter.
_KNOWN = {
    "OpenMuQ/MuQ-large-msd-iter": "CC BY-NC 4.0 (the code is MIT)",
    "m-a-p/MERT-v1-95M": "CC BY-NC 4.0",
    "m-a-p/MERT-v1-330M": "CC BY-NC 4.0",
    "descript/dac_44khz": "MIT (of the authors' code)",
    "gaunernst/vit_base_patch16_1024_128.audiomae_as2m": "CC BY-NC 4.0 (of the authors' code)",
    "openai/jukebox-1b-lyrics": "OpenAI Noncommercial Use License (of the authors' code)",
}
UNKNOWN = "not known: see the model's page"
_NON_COMMERCIAL = ("by-nc", "non-commercial", "noncommercial")


def licence_of(params: CheckpointParams, stated: str = "") -> str:
    """Licence of the weights of ``params.model``.

    Parameters
    ----------
    stated : str
        What the model's page said when the weights were fetched: it counts where we know
        nothing, or something less strict.
    """
    known = _KNOWN.get(params.model, "")
    if is_non_commercial(stated) and not is_non_commercial(known):
        return stated
    return known or stated or UNKNOWN


def is_non_commercial(licence: str) -> bool:
    """Whether a licence, as text, forbids commercial use."""
    plain = licence.lower().replace(" ", "-")
    return any(word in plain for word in _NON_COMMERCIAL)
