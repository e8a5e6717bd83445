"""What belongs to a prediction: whether the model has ever met anything like the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pianoeval.features.symbolic import RELATIVE_PREFIX
from pianoeval.features.views import SYMBOLIC
from pianoeval.judging.files import Recording
from pianoeval.models.base import Float64


@dataclass(frozen=True)
class Notes:
    """How far the predictions for one file can be relied on.

    Attributes
    ----------
    distance : float
        Of its features from the training mean, as a share of the farthest training clip's.
    inside : bool
        Whether it is no farther than that clip: else the model is asked about what it never met.
    beyond : list of str
        Dimensions whose prediction lies outside the labels it was trained on.
    texts : list of str
        What else differs from training.
    """

    distance: float
    inside: bool
    beyond: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def notes_of(
    config: Mapping[str, Any], recording: Recording, values: Float64, apart: float, has_score: bool
) -> Notes:
    """Compare a file with the training clips.

    Parameters
    ----------
    config : mapping
        ``ExportedRidge.config``.
    apart : float
        ``ExportedRidge.distance`` of the file.
    has_score : bool
        Whether features relative to a score were computed.
    """
    largest = float(config["training"]["distance"]["largest"])
    share = apart / largest if largest > 0 else float(apart > 0)
    inside = share <= 1.0
    beyond = [
        str(entry["name"])
        for entry, value in zip(config["dimensions"], values, strict=True)
        if not entry["label_range"][0] <= value <= entry["label_range"][1]
    ]
    texts = differing(config, recording, has_score)
    if not inside:
        texts.insert(0, unlike(share))
    if beyond:
        texts.append(f"outside the range of the labels: {', '.join(beyond)}")
    return Notes(share, inside, beyond, texts)


def unlike(share: float) -> str:
    """What is said of a file that is farther from the training mean than any training clip."""
    return (
        f"unlike every training clip: its features are {share:.1f} times as far"
        " from their mean as the farthest of them"
    )


def differing(config: Mapping[str, Any], recording: Recording, has_score: bool) -> list[str]:
    """How a file differs from the training clips, beyond its features.

    Parameters
    ----------
    config : mapping
        ``inputs``, ``corpus`` and ``training``, as in ``config.json``.
    """
    texts = [*_sound(config, recording), *_length(config, recording)]
    if config["inputs"]["source"] == SYMBOLIC and not has_score:
        texts += _without_score(config)
    return texts


def _sound(config: Mapping[str, Any], recording: Recording) -> list[str]:
    """Recorded and synthesised sound are two things."""
    if config["inputs"]["source"] == SYMBOLIC:
        return []
    recorded, clips = int(config["corpus"]["recorded"]), int(config["corpus"]["clips"])
    pianos = " and ".join(config["inputs"]["instruments"])
    if recording.kind == "audio" and recorded == 0:
        return [
            f"a recording, but the model was trained on audio synthesised from MIDI ({pianos})"
            " alone: nobody has checked what it makes of recordings"
        ]
    if recording.kind == "midi" and recorded == clips:
        return [
            f"MIDI, synthesised ({pianos}), but the model was trained on recordings alone:"
            " nobody has checked what it makes of synthesised audio"
        ]
    return []


def _length(config: Mapping[str, Any], recording: Recording) -> list[str]:
    clip_s = config["training"]["clip_s"]
    if clip_s["shortest"] <= recording.duration_s <= clip_s["longest"]:
        return []
    return [
        f"{recording.duration_s:.1f} s long; training clips had {clip_s['shortest']:.1f}"
        f" to {clip_s['longest']:.1f} s"
    ]


def _without_score(config: Mapping[str, Any]) -> list[str]:
    columns = [str(name) for name in config["inputs"]["columns"]]
    relative = sum(name.startswith(RELATIVE_PREFIX) for name in columns)
    if not relative:
        return []
    return [
        f"no score: {relative} of {len(columns)} features are replaced by their training median,"
        " which is not what the model was tested with; give the notes with --score-midi"
    ]
