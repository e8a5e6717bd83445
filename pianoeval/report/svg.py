"""A small SVG writer: shapes carry classes, so that colours follow the theme of the page."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def figure_style() -> str:
    """Style of the shapes."""
    return (_TEMPLATES / "figure.css").read_text(encoding="utf-8")


def coordinate(value: float) -> str:
    """At most one decimal, no trailing zero: small files, and the same bytes on every machine."""
    if not math.isfinite(value):
        raise ValueError(f"a coordinate is {value}")
    text = f"{value:.1f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


class Svg:
    """A figure under construction.

    Parameters
    ----------
    width, height : float
        View box, in CSS pixels at full size.
    ident : str
        Prefix of the ids of title and description; unique on the page.
    title, description : str
        Read by screen readers; the description says what the figure shows, in words.
    """

    def __init__(
        self, width: float, height: float, *, ident: str, title: str, description: str
    ) -> None:
        self.width, self.height, self.ident = width, height, ident
        self._head = (
            f'<title id="{escape(ident)}-t">{escape(title)}</title>'
            f'<desc id="{escape(ident)}-d">{escape(description)}</desc>'
        )
        self._parts: list[str] = []

    def add(self, tag: str, text: str | None = None, **attributes: str | float) -> None:
        """Append an element; ``_`` in names becomes ``-``, ``cls`` is ``class``."""
        self._parts.append(_element(tag, escape(text) if text is not None else None, attributes))

    def line(self, x1: float, y1: float, x2: float, y2: float, cls: str) -> None:
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, cls=cls)

    def text(self, x: float, y: float, text: str, cls: str = "", *, anchor: str = "start") -> None:
        attributes: dict[str, str | float] = {"x": x, "y": y}
        if cls:
            attributes["cls"] = cls
        if anchor != "start":
            attributes["text_anchor"] = anchor
        self.add("text", text, **attributes)

    def two_tone(self, x: float, y: float, strong: str, muted: str, *, anchor: str) -> None:
        """A label whose second half recedes."""
        inner = f'{escape(strong)}<tspan class="t-muted"> {escape(muted)}</tspan>'
        self._parts.append(_element("text", inner, {"x": x, "y": y, "text_anchor": anchor}))

    def mark(self, x: float, y: float, kind: str, tip: str = "") -> None:
        """A point whose shape, not only its colour, tells the kind of row."""
        shape = {
            "audio": "M{x} {y}m-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",
            "symbolic": "M{x} {y}m0-5.2l5.2 5.2l-5.2 5.2l-5.2-5.2z",
            "fusion": "M{x} {y}m-5 0l2.5-4.3h5l2.5 4.3l-2.5 4.3h-5z",
            "lookup": "M{x} {y}m-3.8-3.8h7.6v7.6h-7.6z",
            "mean": "M{x} {y}m0-4.4l4.6 8h-9.2z",
            "ceiling": "M{x} {y}m-1-6h2v12h-2z",
            "control": "M{x} {y}m-3.8-3.8l7.6 7.6m0-7.6l-7.6 7.6",
        }[kind]
        path = shape.format(x=coordinate(x), y=coordinate(y))
        inner = f"<title>{escape(tip)}</title>" if tip else None
        self._parts.append(_element("path", inner, {"d": path, "cls": f"mark {kind}"}))

    def dot(self, x: float, y: float, cls: str, tip: str) -> None:
        """A small point on a line."""
        inner = f"<title>{escape(tip)}</title>"
        self._parts.append(_element("circle", inner, {"cx": x, "cy": y, "r": 2.8, "cls": cls}))

    def render(self) -> Markup:
        """The element, for the page."""
        width, height = coordinate(self.width), coordinate(self.height)
        names = f'aria-labelledby="{escape(self.ident)}-t {escape(self.ident)}-d"'
        size = f'style="--w:{width}" viewBox="0 0 {width} {height}"'
        head = f'<svg class="fig" role="img" {size} {names}>'
        return Markup(head + self._head + "".join(self._parts) + "</svg>")


def _element(tag: str, inner: str | None, attributes: dict[str, str | float]) -> str:
    written = "".join(
        f' {"class" if name == "cls" else name.replace("_", "-")}="'
        f'{escape(value) if isinstance(value, str) else coordinate(value)}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{written}/>" if inner is None else f"<{tag}{written}>{inner}</{tag}>"


class Scale:
    """Linear map from values to pixels, clamped to its domain."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.high, self.start, self.stop = low, high, start, stop

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def inside(self, value: float) -> bool:
        return self.low <= value <= self.high

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values, about as many as wanted."""
        raw = (self.high - self.low) / max(wanted, 1)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def domain(values: list[float], *, floor: float, ceiling: float) -> tuple[float, float]:
    """A round range around the finite values, held between ``floor`` and ``ceiling``."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = max(min(finite), floor), min(max(finite), ceiling)
    low, high = math.floor(low * 10 - 0.2) / 10, math.ceil(high * 10 + 0.2) / 10
    return (low, high) if high > low else (low - 0.1, low + 0.1)
