"""Single clips on the page: what the best model got most right and most wrong, to see and hear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pianoeval.errors import CorruptDataError
from pianoeval.paths import CorpusPaths
from pianoeval.report import words
from pianoeval.report.roll import LEFT, RIGHT, WIDTH, piano_roll
from pianoeval.report.svg import Scale, Svg, domain
from pianoeval.sealed import read_sealed

_ROW, _LABEL, _PLOT = 15.0, 138.0, 150.0


@dataclass(frozen=True)
class Example:
    """One clip: its text, drawings, and sound.

    Attributes
    ----------
    audio : str or None
        ``data:`` address of an MP3; None where ``silence`` says why.
    start, per_second : float
        Where the playhead stands at the first instant, and how far it moves a second, in units of
        the roll's view box.
    """

    heading: str
    line: str
    roll: Markup | None
    dots: Markup
    audio: str | None
    silence: str
    start: float
    per_second: float


@dataclass(frozen=True)
class Examples:
    """The section: clips by kind, ``best`` and ``worst``.

    ``restricted`` names the clips whose sound is on the page but must not be passed on.
    """

    scheme: str
    model: str
    instrument: str
    best: list[Example]
    worst: list[Example]
    restricted: list[str]


def load_examples(paths: CorpusPaths) -> dict[str, Any] | None:
    """What the stage ``examples`` wrote; None where it has not run.

    Raises
    ------
    CorruptDataError
        The file is not what that stage writes.
    """
    if not paths.examples.is_file():
        return None
    next_step = f"dvc repro examples@{paths.corpus}"
    found = read_sealed(paths.examples, next_step)
    if "clips" not in found:
        raise CorruptDataError("no clips in it", where=paths.examples, next_step=next_step)
    return found


def example_section(found: Mapping[str, Any] | None, prefix: str) -> Examples | None:
    """The section, or None without clips."""
    if not found or not found["clips"]:
        return None
    made: dict[str, list[Example]] = {"best": [], "worst": []}
    for i, entry in enumerate(found["clips"]):
        made[entry["kind"]].append(_example(entry, f"{prefix}-x{i}"))
    features, model = str(found["clips"][0]["model"]).split("/", 1)
    return Examples(
        str(found["scheme"]), words.row_name(features, model), str(found["instrument"]),
        made["best"], made["worst"],
        [str(c["clip"]) for c in found["clips"] if c["audio"] and not c["redistributable"]],
    )  # fmt: skip


def _example(entry: Mapping[str, Any], ident: str) -> Example:
    clip, duration = str(entry["clip"]), float(entry["shown_s"])
    roll = None
    if entry["midi"] is not None:
        roll = piano_roll(entry["midi"], duration, f"{ident}-r", clip).render()
    who = f", player {entry['player']}" if entry["player"] else ""
    shown = f"the first {duration:.0f} s" if duration < entry["duration_s"] else f"{duration:.1f} s"
    return Example(
        heading=clip,
        line=f"segment {entry['segment']}{who}; {shown}; RMS error {words.number(entry['rmse'])}",
        roll=roll,
        dots=_dots(entry, f"{ident}-d").render(),
        audio=f"data:audio/mpeg;base64,{entry['audio']}" if entry["audio"] else None,
        silence=str(entry["silence"]),
        start=LEFT,
        per_second=(WIDTH - LEFT - RIGHT) / duration,
    )


def _dots(entry: Mapping[str, Any], ident: str) -> Svg:
    """Rated (ring) and predicted (dot) a dimension, joined by a line; the largest error on top."""
    rated, predicted = entry["rated"], entry["predicted"]
    names = sorted(rated, key=lambda name: (-abs(predicted[name] - rated[name]), name))
    low, high = domain([*rated.values(), *predicted.values()], floor=-1e9, ceiling=1e9)
    scale = Scale(low, high, _LABEL, _LABEL + _PLOT)
    bottom = 6 + _ROW * len(names)
    worst = names[0]
    svg = Svg(
        _LABEL + _PLOT + 10, bottom + 18, ident=ident, title=f"Ratings of {entry['clip']}",
        description=f"Largest error on {words.plain(worst)}: rated {words.number(rated[worst], 2)},"
        f" predicted {words.number(predicted[worst], 2)}.",
    )  # fmt: skip
    for tick in scale.ticks(4):
        svg.line(scale(tick), 6, scale(tick), bottom, "grid")
        svg.text(scale(tick), bottom + 13, words.tick(tick), "t-muted t-small", anchor="middle")
    for i, name in enumerate(names):
        y = 6 + _ROW * (i + 0.5)
        svg.text(_LABEL - 10, y + 3.5, words.plain(name)[:24], "t-small", anchor="end")
        svg.line(scale(rated[name]), y, scale(predicted[name]), y, "track")
        told = f"{words.plain(name)}: rated {words.number(rated[name], 2)}, predicted "
        told += words.number(predicted[name], 2)
        svg.add("circle", cx=scale(rated[name]), cy=y, r=3.4, cls="rated")
        svg.dot(scale(predicted[name]), y, "predicted", told)
    return svg
