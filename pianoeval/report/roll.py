"""Piano roll: notes over time, their loudness as darkness, the sustain pedal below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pianoeval.report import words
from pianoeval.report.svg import Scale, Svg, coordinate

WIDTH, LEFT, RIGHT = 640.0, 34.0, 16.0
_ROW, _TOP, _PEDAL = 2.6, 8.0, 12.0
_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
#: MIDI velocities up to which a note is drawn in each strength, from soft to loud.
VELOCITY_BINS = (40, 56, 72, 88, 127)
_DOWN = 64  # CC64 from which the pedal counts as down (MIDI 1.0, controller 64)


def pitch_name(pitch: int) -> str:
    """Scientific pitch notation; 60 is C4."""
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"


def piano_roll(midi: Mapping[str, Any], duration_s: float, ident: str, title: str) -> Svg:
    """Draw notes ``[onset_ms, offset_ms, pitch, velocity]`` and pedal ``[time_ms, value]``.

    Time runs from 0 to ``duration_s`` between x = ``LEFT`` and ``WIDTH − RIGHT``; a line of class
    ``playhead`` stands at the left, to be moved while the sound plays.
    """
    notes: Sequence[Sequence[int]] = midi["notes"]
    pitches = [note[2] for note in notes] or [60]
    low, high = min(pitches) - 1, max(pitches) + 1
    bottom = _TOP + _ROW * (high - low + 1)
    span = f"{pitch_name(min(pitches))} to {pitch_name(max(pitches))}"
    svg = Svg(
        WIDTH, bottom + _PEDAL + 20, ident=ident, title=f"Piano roll of {title}",
        description=f"{len(notes)} notes in {words.number(duration_s, 1)} s, {span}.",
    )  # fmt: skip
    x = Scale(0.0, duration_s, LEFT, WIDTH - RIGHT)
    y = Scale(low, high, bottom - _ROW, _TOP)
    for pitch in range(-(-low // 12) * 12, high + 1, 12):
        svg.line(LEFT, y(pitch) + _ROW, WIDTH - RIGHT, y(pitch) + _ROW, "grid")
        svg.text(LEFT - 6, y(pitch) + 4, pitch_name(pitch), "t-muted t-small", anchor="end")
    for tick in x.ticks(6):
        svg.line(x(tick), _TOP, x(tick), bottom + _PEDAL, "grid")
        label = f"{words.number(tick, 0 if tick == round(tick) else 1)} s"
        svg.text(x(tick), bottom + _PEDAL + 14, label, "t-muted t-small", anchor="middle")
    _draw_notes(svg, notes, x, y)
    _draw_pedal(svg, midi["pedal"], duration_s, x, bottom)
    svg.line(LEFT, _TOP - 4, LEFT, bottom + _PEDAL, "playhead")
    return svg


def _draw_notes(svg: Svg, notes: Sequence[Sequence[int]], x: Scale, y: Scale) -> None:
    """One path a strength: a page with thousands of notes stays small."""
    paths: list[list[str]] = [[] for _ in VELOCITY_BINS]
    for onset, offset, pitch, velocity in notes:
        left = x(onset / 1000)
        width = max(x(offset / 1000) - left - 0.4, 1.2)
        strength = next(i for i, top in enumerate(VELOCITY_BINS) if velocity <= top)
        paths[strength].append(
            f"M{coordinate(left)} {coordinate(y(pitch))}h{coordinate(width)}v{_ROW}"
            f"h-{coordinate(width)}z"
        )
    for strength, parts in enumerate(paths):
        if parts:
            svg.add("path", d="".join(parts), cls=f"note v{strength}")


def _draw_pedal(
    svg: Svg, pedal: Sequence[Sequence[int]], duration_s: float, x: Scale, bottom: float
) -> None:
    """Bars while the pedal is down."""
    svg.text(LEFT - 6, bottom + _PEDAL, "ped.", "t-muted t-small", anchor="end")
    since: float | None = None
    for time, value in [*pedal, [round(duration_s * 1000), 0]]:
        if value >= _DOWN and since is None:
            since = time / 1000
        elif value < _DOWN and since is not None:
            width = max(x(time / 1000) - x(since), 0.6)
            svg.add("rect", x=x(since), y=bottom + 5, width=width, height=6, cls="pedal")
            since = None
