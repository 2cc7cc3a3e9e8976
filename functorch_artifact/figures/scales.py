"""Axes as values: what they span, and what is written along them.

Belongs here: limits, scales, ticks and their names. Does not: where an axis stands on a figure
(`panels`).
Floor 1.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import attrs
import numpy as np

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

_MOST_POWERS: Final = 7
_TINY: Final = 1e-290  # below it, quotients leave the range of a float
_SLACK: Final = 1e-9  # for ticks at the very ends
_HUGE: Final = 1e300  # above it, sums and differences do
_LARGEST: Final = sys.float_info.max
_POWERS: Final = (-3, 4)  # numbers beyond 0.001 and 10,000 are written as multiples of a power of ten


def _linear(values: Floats) -> Floats:
    return values


@attrs.frozen(eq=False)
class Axis:
    """One direction of a panel.

    Args:
        low: the value at its beginning, the left or lower end; it may be the greater one.
        high: the value at its other end.
        ticks: values, and what stands there; of those that would overlap, the first is kept.
        label: what the values are.
        note: what the names leave out, such as a power of ten.
        scale: a monotone function of values; they lie along the axis in proportion to its results.
        grid: whether each tick has a line through the panel.
        slanted: whether the names of a horizontal axis stand at 45 degrees.
    """

    low: float
    high: float
    ticks: Sequence[tuple[float, str]] = ()
    label: str = ""
    note: str = ""
    scale: Callable[[Floats], Floats] = _linear
    grid: bool = True
    slanted: bool = False

    def places(self, values: Any) -> Floats:
        """Find where values lie: 0 at the axis's beginning, 1 at its end."""
        low, high = self.scale(np.array([self.low, self.high]))
        return np.asarray((self.scale(np.asarray(values, dtype=np.float64)) - low) / (high - low))


def linear(
    low: float, high: float, label: str = "", *, margin: float = 0.0, most: int = 5, integer: bool = False, **rest: Any
) -> Axis:
    """Span numbers, with ticks at round ones.

    Args:
        low: the least value.
        high: the greatest value.
        label: what the values are.
        margin: share of the span to add at either end.
        most: intervals between ticks, at most.
        integer: whether ticks are integers only.
        rest: other fields of the axis.

    Example:
        >>> [name for _, name in linear(0.0, 0.9).ticks]
        ['0.0', '0.2', '0.4', '0.6', '0.8']
    """
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    size = max(abs(low), abs(high))
    power = math.floor(math.log10(size)) if size > _HUGE else 0
    unit = 10.0**power
    low, high = _widened(low / unit, high / unit, margin)
    ticks = np.asarray(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10], integer=integer).tick_values(low, high))
    slack = _SLACK * (high - low)
    ticks = ticks[(ticks >= low - slack) & (ticks <= high + slack)]
    formatter: Any = ScalarFormatter()
    formatter.create_dummy_axis()
    formatter.axis.set_view_interval(low, high)
    formatter.set_powerlimits(_POWERS)
    names, note = formatter.format_ticks(ticks.tolist()), formatter.get_offset()
    if not power:
        return Axis(low, high, tuple(zip(ticks.tolist(), names, strict=True)), label, note, **rest)
    low, high, *ticks = (unit * np.clip([low, high, *ticks], -_LARGEST / unit, _LARGEST / unit)).tolist()
    note = f"1e{power}{note and ' x '}{note}"
    return Axis(low, high, tuple(zip(ticks, names, strict=True)), label, note, lambda values: values / unit, **rest)


def symmetric_log(low: float, high: float, linear_up_to: float, label: str = "", *, margin: float = 0.0) -> Axis:
    """Span numbers of many sizes and of either sign, by the inverse hyperbolic sine.

    It is all but linear below `linear_up_to` and logarithmic above. Ticks are zero and powers of ten.
    """

    def scale(values: Floats) -> Floats:
        return np.arcsinh(values / linear_up_to)

    first, last = scale(np.array([low, high])).tolist()
    first, last = _widened(first, last, margin)
    low, high = np.clip([math.sinh(end) * linear_up_to for end in (first, last)], -_LARGEST, _LARGEST).tolist()
    least, most = math.ceil(math.log10(linear_up_to)), math.floor(math.log10(max(abs(low), abs(high))) + _SLACK)
    powers = 10.0 ** np.arange(most, least - 1, -max(1, -(-(most - least) // _MOST_POWERS)))
    ticks = np.concatenate([[0.0], powers, -powers])
    slack = _SLACK * (last - first)
    ticks = ticks[(scale(ticks) >= first - slack) & (scale(ticks) <= last + slack)]
    return Axis(low, high, [(each, _power(each)) for each in ticks.tolist()], label, scale=scale)


def logarithmic(low: float, high: float, label: str = "") -> Axis:
    """Span positive numbers by their logarithm, with ticks at powers of ten."""
    powers = 10.0 ** np.arange(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    return Axis(low, high, [(each, _power(each)) for each in powers.tolist()], label, scale=np.log10)


def named(names: Sequence[str], label: str = "", *, downwards: bool = False, **rest: Any) -> Axis:
    """Give each name a stretch of length 1, around its place in the list.

    Args:
        names: what stands along the axis.
        label: what they are.
        downwards: whether the first one is at the end, so that a vertical axis reads from the top.
        rest: other fields of the axis.
    """
    ends = (-0.5, len(names) - 0.5)
    low, high = ends[::-1] if downwards else ends
    return Axis(low, high, tuple(enumerate(names)), label, **rest)


def _widened(low: float, high: float, margin: float) -> tuple[float, float]:
    """Add a margin; one value alone, or two that can hardly be told apart, get a span around them."""
    size = max(abs(low), abs(high))
    if size < _TINY:
        low, high = low - 0.5, high + 0.5
    elif not high - low > 1e-12 * size:
        low, high = low - 0.5 * size, high + 0.5 * size
    return low - margin * (high - low), high + margin * (high - low)


def _power(value: float) -> str:
    """Write a power of ten, or zero.

    Example:
        >>> _power(0.01), _power(1e6)
        ('0.01', '10⁶')
    """
    sign, size = "\N{MINUS SIGN}" if value < 0 else "", abs(value)
    if value == 0.0 or 1e-3 <= size <= 1e4:
        return f"{sign}{size:g}"
    return f"{sign}10" + str(round(math.log10(size))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
