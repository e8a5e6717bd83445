r"""Statistics that know the order of frames, which mean, spread and extremes do not.

They are taken of *steps*: frames averaged over equal times, about twenty a second where an
encoder gives as many, which is enough to tell an onset. In what follows x is one value (of one
layer) over the n steps of a clip, less its mean.

===========  =====================================================================================
delta        :math:`\sqrt{\overline{(x_t - x_{t-1})^2}}`, how fast it changes; with ``std`` it says
             how slow the changes are (the mobility of Hjorth 1970, Electroencephalogr. Clin.
             Neurophysiol. 29, 306-310)
slope        change over the clip along the regression line on time
early        mean of the first third, ``middle`` and ``late`` of the others: phrases are arches
             (Todd 1985, Music Percept. 3, 33-58)
lag_<ms>     autocorrelation :math:`\sum x_t x_{t-k} / \sum x_t^2` at 0.5, 1 and 2 s
pulse        highest autocorrelation, between 0.25 and 2 s, of the positive change
             :math:`\max(0, x_t - x_{t-1})` less its mean: high where onsets repeat in time, so it
             falls with rubato (pulse clarity: Lartillot et al. 2008, ISMIR, 521-526)
activity     coefficient of variation, over seconds, of the root mean square change within each:
             whether as much happens in one second as in another
mod_<mHz>    :math:`\log_{10}` of the power in the octave of modulation frequencies that begins at
             1/16, 1/8, 1/4, 1/2 or 1 Hz, against white noise of the same spread
             (:math:`\overline{|\sum w_t x_t e^{-2\pi i f t}|^2} / (\sum w_t^2\,\overline{x^2})`,
             w a Hann window over spans of about 16 s, f multiples of 1/16 Hz); the slow octaves are
             those of phrases (Houtgast & Steeneken 1985, JASA 77, 1069-1077)
===========  =====================================================================================

Of a value that does not vary, and of what a clip is too short for, all are 0, ``mod_<mHz>`` its
floor. Where a clip is shorter than a period, an octave holds its trend. Nothing but ``delta``,
``slope`` and the thirds depends on the unit of the value.

Steps come in blocks, twice: for the mean, then for everything else. So an hour takes no more
memory than a minute, and how a clip is divided does not matter beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import ConfigError

LAGS_S = {"lag_500": 0.5, "lag_1000": 1.0, "lag_2000": 2.0}
OCTAVES_HZ = {"mod_62": 0.0625, "mod_125": 0.125, "mod_250": 0.25, "mod_500": 0.5, "mod_1000": 1.0}
THIRDS = ("early", "middle", "late")
TEMPORAL = ("delta", "slope", *THIRDS, *LAGS_S, "pulse", "activity", *OCTAVES_HZ)

FLOOR = 1e-3  # of the modulation power, against white noise
_STEPS_HZ = 20.0
_SLOWEST_HZ = 4.0  # Nyquist's for the highest octave
_PULSE_S = (0.25, 2.0)
_SPAN_S = 16.0  # one over the distance of modulation frequencies
_BLOCK_STEPS = 512
# The spread of float16 frames that are equal but for rounding, against their mean square.
_CONSTANT = 1e-12

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Blocks = Callable[[int], Iterable[Array]]  # frames of a clip, that many at a time


def frames_a_step(rate_hz: float, group: int, step_hz: float = _STEPS_HZ) -> int:
    """Frames that are averaged to one step: whole groups, at ``step_hz`` or the nearest below.

    Parameters
    ----------
    rate_hz : float
        Frames a second.
    group : int
        Frames that stand for one time.
    step_hz : float
        Steps a second that are wanted; no more than there are.
    """
    return max(1, round(rate_hz / group / step_hz)) * group


def averaged(frames: Iterable[Array], count: int) -> Iterator[Float64]:
    """Steps of blocks whose lengths, but for the last, are multiples of ``count``.

    The last step of a clip may be of fewer frames. Shapes (frames, ...) to (steps, ...).
    """
    for block in frames:
        starts = np.arange(0, len(block), count)
        lengths = np.diff(np.append(starts, len(block)))
        total = np.add.reduceat(block, starts, axis=0, dtype=np.float64)
        yield total / lengths.reshape(-1, *[1] * (block.ndim - 1))


def pool_temporal(
    blocks: Blocks, length: int, stats: Sequence[str], rate_hz: float, group: int = 1
) -> NDArray[np.float32]:
    """Statistics of a clip.

    Parameters
    ----------
    blocks : callable
        Frames (frames, layers, dim) from the first to the last, as many at a time as it is told;
        called twice.
    length : int
        Frames of the clip.
    stats : sequence of str
        Of ``TEMPORAL``.
    rate_hz, group : float, int
        Frames a second, and how many of them stand for one time.

    Returns
    -------
    float32, shape (layers, stats, dim)

    Raises
    ------
    ConfigError
        Fewer than four steps a second.
    """
    count = frames_a_step(rate_hz, group)
    step_hz = rate_hz / count
    if step_hz < _SLOWEST_HZ:
        raise ConfigError(
            f"{step_hz:.2f} frames a second are too few for {', '.join(stats)}", where="pool.stats",
            allowed=f"at least {_SLOWEST_HZ:g} Hz", next_step="take these out of pool.stats",
        )  # fmt: skip
    # Whole windows of activity a block, whatever the clip's length.
    window = max(1, round(step_hz))
    size = max(1, _BLOCK_STEPS // window) * window * count
    n = -(-length // count)
    total: Float64 = np.zeros(())
    for steps in averaged(blocks(size), count):
        total = total + steps.sum(axis=0)
    mean = total / n
    state = _State(n, step_hz, window, stats)
    for steps in averaged(blocks(size), count):
        state.add((steps - mean).reshape(len(steps), -1))
    found = state.result(mean.ravel())
    return np.stack([found[s].reshape(mean.shape) for s in stats], axis=1).astype(np.float32)


class _Autocorrelation:
    """Sums for the autocorrelation of values that come in blocks, their mean being unknown."""

    def __init__(self, lags: Sequence[int]) -> None:
        self.lags = sorted(set(lags))
        self.n, self.total, self.square = 0, np.zeros(()), np.zeros(())
        self.products: dict[int, Float64] = {lag: np.zeros(()) for lag in self.lags}
        self.first: Float64 | None = None  # as many as the longest lag, and the last so many
        self.last: Float64 | None = None

    def add(self, x: Float64) -> None:
        """The next values, (steps, values)."""
        longest = self.lags[-1]
        joined = x if self.last is None else np.concatenate([self.last, x])
        for lag in self.lags:
            begin = max(len(joined) - len(x), lag)
            late, early = joined[begin:], joined[begin - lag : max(len(joined) - lag, 0)]
            self.products[lag] = self.products[lag] + np.einsum("ij,ij->j", late, early)
        if self.first is None or len(self.first) < longest:
            self.first = joined[:longest].copy()
        self.last = joined[-longest:].copy()
        self.n += len(x)
        self.total = self.total + x.sum(axis=0)
        self.square = self.square + np.einsum("ij,ij->j", x, x)

    def result(self, varies: NDArray[np.bool_]) -> dict[int, Float64]:
        """By lag, (values,); 0 where a value does not vary and where a clip is too short."""
        if self.first is None or self.last is None:
            return {}
        mean = self.total / self.n
        spread = self.square - self.n * mean**2
        varies = varies & (spread > _CONSTANT * self.square)
        found = {}
        for lag in self.lags:
            if lag >= self.n:
                found[lag] = np.zeros_like(mean)
                continue
            ends = 2 * self.total - self.first[:lag].sum(axis=0) - self.last[-lag:].sum(axis=0)
            product = self.products[lag] - mean * ends + (self.n - lag) * mean**2
            found[lag] = np.divide(product, spread, out=np.zeros_like(mean), where=varies)
        return found


class _Modulation:
    """Power of the modulation frequencies 1/16, 2/16, … below 2 Hz, over equal spans of a clip."""

    def __init__(self, n: int, rate_hz: float) -> None:
        spans = max(1, round(n / rate_hz / _SPAN_S))
        self._ends = [n * (i + 1) // spans for i in range(spans)]
        self._begin, self._done = 0, 0
        self._hertz = np.arange(1, round(2 * max(OCTAVES_HZ.values()) * _SPAN_S)) / _SPAN_S
        self._radians = 2 * np.pi * self._hertz / rate_hz
        self._spectrum: Array = np.zeros(())
        self._power, self._weight = np.zeros(()), 0.0

    def add(self, x: Float64) -> None:
        """The next steps, centred: (steps, values)."""
        while len(x):
            n = self._ends[0] - self._begin
            part, x = x[: self._ends[0] - self._done], x[self._ends[0] - self._done :]
            t = np.arange(self._done - self._begin, self._done - self._begin + len(part))
            window = np.sin(np.pi * (t + 0.5) / n) ** 2
            wave = np.exp(-1j * np.outer(self._radians, t)) * window
            self._spectrum = self._spectrum + (wave.real @ part + 1j * (wave.imag @ part))
            self._weight += float(window @ window)
            self._done += len(part)
            if self._done == self._ends[0]:
                self._power = self._power + np.square(np.abs(self._spectrum))
                self._spectrum, self._begin = np.zeros(()), self._ends.pop(0)

    def power(self, low_hz: float) -> Float64:
        """Mean over an octave, (values,): of white noise its mean square."""
        inside = (self._hertz >= low_hz) & (self._hertz < 2 * low_hz)
        return np.asarray(self._power[inside].mean(axis=0) / self._weight, np.float64)


class _State:
    """Sums over the steps so far; columns are all layers side by side."""

    def __init__(self, n: int, rate_hz: float, window: int, stats: Sequence[str]) -> None:
        self.n, self.window, self.done = n, window, 0
        self.lag = {name: _steps(s, rate_hz) for name, s in LAGS_S.items() if name in stats}
        self.lagged = _Autocorrelation(list(self.lag.values()) or [1])
        shortest, longest = (_steps(s, rate_hz) for s in _PULSE_S)
        self.onsets = _Autocorrelation(range(shortest, longest + 1)) if "pulse" in stats else None
        self.square, self.line = np.zeros(()), np.zeros(())
        self.change, self.rms, self.rms_square = np.zeros(()), np.zeros(()), np.zeros(())
        self.bounds = [n * i // 3 for i in range(4)]
        self.thirds: list[Float64] = [np.zeros(()) for _ in THIRDS]
        self.octaves = [name for name in OCTAVES_HZ if name in stats]
        self.modulation = _Modulation(n, rate_hz) if self.octaves else None
        self.before: Float64 | None = None

    def add(self, x: Float64) -> None:
        """The next steps, centred: (steps, values)."""
        t = np.arange(self.done, self.done + len(x))
        self.square = self.square + np.einsum("ij,ij->j", x, x)
        self.line = self.line + ((t + 0.5) / self.n - 0.5) @ x
        for i in range(3):
            inside = (t >= self.bounds[i]) & (t < self.bounds[i + 1])
            self.thirds[i] = self.thirds[i] + x[inside].sum(axis=0)
        if self.modulation:
            self.modulation.add(x)
        if self.lag:
            self.lagged.add(x)
        # The first step of a clip changes by nothing.
        change = np.diff(x, axis=0, prepend=x[:1] if self.before is None else self.before)
        if self.onsets is not None:
            self.onsets.add(np.maximum(change, 0))
        self._changes(np.square(change))
        self.before = x[-1:]
        self.done += len(x)

    def _changes(self, squared: Float64) -> None:
        self.change = self.change + squared.sum(axis=0)
        whole = len(squared) // self.window * self.window
        windows = squared[:whole].reshape(-1, self.window, squared.shape[1]).mean(axis=1)
        self.rms = self.rms + np.sqrt(windows).sum(axis=0)
        self.rms_square = self.rms_square + windows.sum(axis=0)

    def result(self, mean: Float64) -> dict[str, Float64]:
        """Every statistic of the clip, (values,); ``mean`` decides what is mere rounding."""
        n, varies = self.n, self.square > _CONSTANT * self.n * np.square(mean)

        def share(part: Float64, whole: Float64) -> Float64:
            return np.divide(part, whole, out=np.zeros_like(mean), where=varies & (whole > 0))

        found = {"delta": np.sqrt(self.change / max(n - 1, 1))}
        centre = (np.arange(n) + 0.5) / n - 0.5
        found["slope"] = self.line / max(float(centre @ centre), _CONSTANT)
        for name, total, i in zip(THIRDS, self.thirds, range(3), strict=True):
            found[name] = total / max(self.bounds[i + 1] - self.bounds[i], 1)
        by_lag = self.lagged.result(varies)
        found |= {name: by_lag[lag] for name, lag in self.lag.items()}
        if self.onsets is not None:
            found["pulse"] = np.max(list(self.onsets.result(varies).values()), axis=0)
        windows = max(n // self.window, 1)
        spread = np.sqrt(np.maximum(self.rms_square / windows - (self.rms / windows) ** 2, 0))
        found["activity"] = share(spread, self.rms / windows)
        if self.modulation:
            for name in self.octaves:
                power = self.modulation.power(OCTAVES_HZ[name])
                found[name] = np.log10(share(power, self.square / n) + FLOOR)
        return found


def _steps(seconds: float, rate_hz: float) -> int:
    return max(1, round(seconds * rate_hz))
