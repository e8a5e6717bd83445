"""From an instrument's parameters to what plays it: banks of keys, or the user's Pianoteq."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import soxr

from pianoeval.assets import asset_path, pinned
from pianoeval.audio import pianoteq, pianoteq_program
from pianoeval.audio.synth import SampleBank
from pianoeval.audio.windbank import WindBank
from pianoeval.audio.winds import WINDS_VERSION
from pianoeval.errors import ConfigError
from pianoeval.params import InstrumentParams, Params
from pianoeval.provenance import canonical_json

BACKEND = "tinysoundfont"
ABSENT = "absent"


def instrument_params(params: Params, name: str) -> InstrumentParams:
    """The block ``instruments.<name>``; raises ConfigError that lists the known ones."""
    if name not in params.instruments:
        raise ConfigError(
            f"unknown instrument '{name}'", allowed=", ".join(sorted(params.instruments)),
            next_step="edit axes.instrument in params.yaml",
        )  # fmt: skip
    return params.instruments[name]


def font_path(instrument: InstrumentParams) -> Path:
    """The fetched, hash-checked sound font; raises MissingAssetError (``pianoeval fetch …``)."""
    return asset_path(instrument.font)


def render_identity(instrument: InstrumentParams) -> dict[str, Any]:
    """Everything about instrument and backend that changes the samples, for keys and attributes."""
    if instrument.engine == "pianoteq":
        found = pianoteq_program.find_program()
        backend = found.identity() if found else {"pianoteq": ABSENT}
        return {
            "instrument": instrument.model_dump(mode="json"),
            "backend": {**backend, "soxr": soxr.__libsoxr_version__},
        }
    backend = {BACKEND: _backend_version(), "soxr": soxr.__libsoxr_version__}
    if instrument.engine == "winds":
        backend["winds"] = str(WINDS_VERSION)
    return {
        "instrument": instrument.model_dump(mode="json"),
        "font_sha256": pinned(instrument.font).sha256,
        "backend": backend,
    }


def _backend_version() -> str:
    """Recordings need no backend; whatever is played without it fails, and is no item."""
    try:
        return version(BACKEND)
    except PackageNotFoundError:
        return ABSENT


def check_instrument(instrument: InstrumentParams) -> None:
    """Raise what playing it would, before any clip is played: a missing font, preset or program."""
    if instrument.engine == "pianoteq":
        pianoteq.voice(instrument.preset)
    elif instrument.engine == "winds":
        wind_bank(instrument)  # which programs are played, the files say
    else:
        sample_bank(instrument)


def sample_bank(instrument: InstrumentParams) -> SampleBank:
    """The instrument's bank, kept for the next clip of this process."""
    return _bank(str(font_path(instrument)), canonical_json(instrument.model_dump(mode="json")))


def wind_bank(instrument: InstrumentParams) -> WindBank:
    """The font's wind instruments, kept for the next clip of this process."""
    return _wind_bank(
        str(font_path(instrument)), canonical_json(instrument.model_dump(mode="json"))
    )


@lru_cache(maxsize=1)
def _wind_bank(path: str, parameters: str) -> WindBank:
    return WindBank(Path(path), InstrumentParams.model_validate_json(parameters))


@lru_cache(maxsize=2)
def _bank(path: str, parameters: str) -> SampleBank:
    return SampleBank(Path(path), InstrumentParams.model_validate_json(parameters))
