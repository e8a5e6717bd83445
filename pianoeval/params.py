"""The parameters of the pipeline as frozen models; ``params_file`` reads ``params.yaml``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pianoeval.params_block import Block as Block
from pianoeval.params_block import Seed
from pianoeval.params_cluster import ClusterParams
from pianoeval.params_contrast import SKYLINE
from pianoeval.params_contrast import ContrastParams as ContrastParams
from pianoeval.params_contrast import HeadParams as HeadParams
from pianoeval.params_corpora import CorpusParams as CorpusParams
from pianoeval.params_encoders import CheckpointParams as CheckpointParams
from pianoeval.params_encoders import EncoderBlock as EncoderBlock
from pianoeval.params_encoders import EncoderParams as EncoderParams
from pianoeval.params_encoders import Layers as Layers
from pianoeval.params_encoders import MelParams as MelParams
from pianoeval.params_encoders import TranskunParams as TranskunParams
from pianoeval.params_fusion import FusionParams as FusionParams
from pianoeval.params_probe import READS_SEQUENCES as READS_SEQUENCES
from pianoeval.params_probe import AttentionParams as AttentionParams
from pianoeval.params_probe import BoostingParams as BoostingParams
from pianoeval.params_probe import ControlParams as ControlParams
from pianoeval.params_probe import HanParams as HanParams
from pianoeval.params_probe import KernelRidgeParams as KernelRidgeParams
from pianoeval.params_probe import LayerMlpParams as LayerMlpParams
from pianoeval.params_probe import LearningCurveParams as LearningCurveParams
from pianoeval.params_probe import LossName as LossName
from pianoeval.params_probe import LstmParams as LstmParams
from pianoeval.params_probe import MlpParams as MlpParams
from pianoeval.params_probe import ModelName as ModelName
from pianoeval.params_probe import ProbeParams as ProbeParams
from pianoeval.params_probe import RidgeParams as RidgeParams
from pianoeval.params_probe import SequenceParams as SequenceParams
from pianoeval.params_probe import TreeParams as TreeParams
from pianoeval.params_probe import ViewParams as ViewParams
from pianoeval.params_rank import RankerParams as RankerParams
from pianoeval.params_rank import RankParams as RankParams
from pianoeval.params_transfer import TransferParams as TransferParams

Scheme = Literal[
    "segment", "content", "player", "movement", "movement_player",
    "composition", "leave_one_player_out", "random",
]  # fmt: skip

StatName = Literal[
    "mean", "std", "max", "min",
    "delta", "slope", "early", "middle", "late", "lag_500", "lag_1000", "lag_2000",
    "pulse", "activity", "mod_62", "mod_125", "mod_250", "mod_500", "mod_1000",
]  # fmt: skip


class Axes(Block):
    """What the DVC matrix iterates over; names refer to the blocks below."""

    corpus: list[str] = Field(min_length=1)
    instrument: list[str] = Field(min_length=1)
    encoder: list[str] = Field(description="none: nothing is encoded")
    features: list[str] = Field(min_length=1, description="symbolic, or encoders")
    target: list[str] = Field(
        default_factory=list, description="corpora that are predicted, not learned from"
    )


class RunParams(Block):
    """How work is executed; never part of an item's key, because it changes no number."""

    workers: int = Field(0, ge=0, description="processes; 0 = one a core")
    batch_size: int = Field(
        0, ge=0, le=1024, description="chunks a call on a GPU; 0 = what fits its memory, at most 32"
    )
    readers: int = Field(
        0, ge=0, le=64, description="threads that feed a GPU; 0 = half of the cores, at most 8"
    )
    writers: int = Field(
        0, ge=0, le=64, description="threads that store; 0 = a quarter of the cores, at most 4"
    )
    job_timeout_s: float = Field(600.0, gt=0, description="beyond the clip's own length")
    max_failed_fraction: float = Field(0.0, ge=0, le=1)


# Beyond these a recording is no music, and the filter of the resampler takes gigabytes.
LOWEST_HZ, HIGHEST_HZ = 4_000, 768_000


class MidiLimits(Block):
    """What is refused before synthesis, and before a recording is decoded."""

    max_duration_s: float = Field(1800.0, gt=0, description="of MIDI")
    max_recording_s: float = Field(14_400.0, gt=0, le=21_600, description="of audio")
    max_notes: int = Field(200_000, gt=0)
    max_bytes: int = Field(16 << 20, gt=0)


# All that each other engine reads of an instrument, and what soundfont does not.
_OF_ENGINE = {
    "pianoteq": ("engine", "gain_db", "preset"),
    "winds": ("bank", "breath_db", "engine", "font", "gain_db", "velocity_lowpass_cents"),
}
_NOT_OF_PIANOS = ("engine", "preset", "breath_db")


class InstrumentParams(Block):
    """One synthesised piano; every field but the names is part of the render key.

    What an engine does not read can neither be set nor is it written out.
    """

    engine: Literal["soundfont", "pianoteq", "winds"] = Field(
        "soundfont",
        description="pianoteq: the user's own program; winds: one line of the program that each"
        " file names; see docs/instruments.md",
    )
    preset: str = Field("", description="pianoteq: its name, as --list-presets writes it")
    font: str = Field("", description="soundfont, winds: asset name of the sound font")
    bank: int = Field(0, ge=0, le=128)
    program: int = Field(0, ge=0, le=127)
    gain_db: float = Field(0.0, description="fixed, calibrated once; never per clip")
    velocity_lowpass_cents: float = Field(
        0.0, ge=0, description="how far the low-pass closes, velocity 127 to 0"
    )
    unison_cents: list[float] = Field(default_factory=lambda: [0.0], description="one voice each")
    detune_cents: float = Field(0.0, ge=0, description="sd per key and string, seeded")
    uneven_db: float = Field(0.0, ge=0, description="sd of a loss of level per key, seeded")
    decay_db_s: float = Field(0.0, ge=0, description="decay added to the samples' own")
    eq: list[tuple[Literal["highpass", "peak", "highshelf"], float, float, float]] = Field(
        default_factory=list, description="(kind, Hz, dB, Q)"
    )
    seed: Seed = 0
    breath_db: float = Field(
        -40.0, le=0, description="winds: of inhalations, beside a note at velocity 127"
    )

    @model_validator(mode="after")
    def _of_one_engine(self) -> InstrumentParams:
        wanted = "preset" if self.engine == "pianoteq" else "font"
        if not getattr(self, wanted):
            raise ValueError(f"engine {self.engine} needs '{wanted}'")
        if useless := sorted(self.model_fields_set - {"engine", *self._read()}):
            raise ValueError(f"engine {self.engine} does not read {', '.join(useless)}")
        return self

    @model_serializer(mode="wrap")
    def _as_read(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        return {name: values[name] for name in self._read()}

    def _read(self) -> list[str]:
        """Fields that the engine reads, in the order in which they are written."""
        pianos = [name for name in type(self).model_fields if name not in _NOT_OF_PIANOS]
        return list(_OF_ENGINE.get(self.engine, pianos))


class RenderParams(Block):
    """Rules of rendering that all instruments share."""

    sample_rate_hz: int = Field(44_100, ge=16_000, le=96_000)
    lead_s: float = Field(0.1, ge=0, description="silence kept before the first note")
    max_tail_s: float = Field(1.0, ge=0, description="longest tail after the last note's end")
    tail_decay_db: float = Field(60.0, gt=0, description="the tail also ends when this far down")
    half_pedal_low: int = Field(25, ge=0, le=127, description="CC64 at which dampers rest fully")
    half_pedal_high: int = Field(85, ge=0, le=127, description="CC64 at which dampers are clear")
    recording_gain_db: float = Field(
        -6.0, le=0, description="of recordings: decoding and resampling overshoot full scale"
    )


class ContourParams(Block):
    """pYIN, as in Pati, Gururani & Lerch 2018: 44.1 kHz, blocks of 1024, hops of 256 samples."""

    instrument: str = Field(description="which render the contours are taken from")
    sample_rate_hz: int = Field(44_100, ge=LOWEST_HZ, le=HIGHEST_HZ)
    fmin_hz: float = Field(87.307, gt=0, description="F2; two periods must fit into a window")
    fmax_hz: float = Field(2637.02, gt=0, description="E7")
    frame_length_frames: int = Field(1024, gt=0, description="samples a window")
    hop_frames: int = Field(256, gt=0, description="samples a hop")
    resolution_semitones: float = Field(0.1, gt=0, le=1, description="grid of candidate pitches")

    @model_validator(mode="after")
    def _apart(self) -> ContourParams:
        if self.instrument == SKYLINE:
            raise ValueError(f"'{SKYLINE}' is the store of the MIDI's pitch, not an instrument")
        return self


class PoolParams(Block):
    """Statistics over the frames of the whole clip, and frames kept beside them."""

    stats: list[StatName] = Field(min_length=1)
    sequence_hz: float = Field(
        0.0, ge=0, le=50, description="frames a second kept for attention and lstm; 0 = none"
    )

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without sequences that there are none of: names of what was computed before stay."""
        values: dict[str, Any] = serialise(self)
        if self.sequence_hz == 0:
            values.pop("sequence_hz", None)
        return values


class FoldParams(Block):
    """How folds are cut."""

    schemes: list[Scheme] = Field(min_length=1)
    n_folds: int = Field(4, ge=2)
    seed: Seed = 42


class EvaluateParams(Block):
    """Bootstrap and pairs."""

    n_bootstrap: int = Field(10_000, ge=100)
    confidence: float = Field(0.95, gt=0, lt=1)
    margins: list[float] = Field(default_factory=lambda: [0.0, 0.05, 0.10])
    min_within_reliability: float = Field(
        0.1, ge=0, le=1, description="below it a dimension is left out of mean pairwise accuracy"
    )
    min_players: int = Field(
        6, ge=2, description="with fewer players, content groups alone are resampled"
    )
    seed: Seed = 42


class ReportParams(Block):
    """Clips to see and hear on the page."""

    instrument: str = Field(description="render that is played; one of axes.instrument")
    audio: Literal["redistributable", "always", "never"] = Field(
        "always", description="which clips' sound goes into the page"
    )


class Params(Block):
    """The whole of ``params.yaml``."""

    axes: Axes
    run: RunParams
    cluster: ClusterParams = ClusterParams()
    midi: MidiLimits
    corpora: dict[str, CorpusParams]
    render: RenderParams
    instruments: dict[str, InstrumentParams]
    contours: ContourParams
    encoders: dict[str, EncoderParams]
    pool: PoolParams
    folds: FoldParams
    views: dict[str, dict[str, ViewParams]] = Field(description="by features, then by name")
    fusion: FusionParams = FusionParams()
    probe: ProbeParams
    rank: RankParams = RankParams()
    contrast: ContrastParams = ContrastParams()
    evaluate: EvaluateParams
    report: ReportParams
    transfer: TransferParams = TransferParams()
