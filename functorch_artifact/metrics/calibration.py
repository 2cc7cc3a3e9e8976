"""Whether probabilities are frequencies.

Belongs here: binned reliability, proper scoring rules. Does not: drawing them.
Floor 2.
"""

from __future__ import annotations

from typing import Final

import attrs
import numpy as np

from functorch_artifact.errors import ConfigurationError
from functorch_artifact.metrics.statistics import Bools, Floats, Ints

_LEAST: Final = float(np.finfo(np.float64).eps)


@attrs.frozen(eq=False)
class Reliability:
    """Compare, bin by bin, what was promised with what came.

    Example:
        >>> import numpy as np
        >>> promised, came = np.array([0.9, 0.9, 0.1, 0.1]), np.array([True, True, False, True])
        >>> round(Reliability.of(came, promised, n_bins=2).expected_calibration_error, 6)
        0.25
    """

    edges: Floats  # float64 [b + 1], from 0 to 1
    counts: Ints  # int64 [b]
    confidence: Floats  # float64 [b], mean probability, NaN in an empty bin
    frequency: Floats  # float64 [b], share of events, NaN in an empty bin

    @classmethod
    def of(cls, happened: Bools, probability: Floats, n_bins: int = 15) -> Reliability:
        """Sort n events into `n_bins` bins of equal width by their probability.

        A probability on an edge belongs to the bin below it, as in
        `sklearn.calibration.calibration_curve`.

        Args:
            happened: bool [n].
            probability: what each event was given, float64 [n], without NaN.
            n_bins: b.

        Raises:
            ConfigurationError: `n_bins` is below 1.
        """
        if n_bins < 1:
            raise ConfigurationError("is too small", where="n_bins", expected="an integer of at least 1", got=n_bins)
        edges = np.linspace(0.0, 1.0, n_bins + 1)
        bins = np.searchsorted(edges[1:-1], probability)
        counts = np.bincount(bins, minlength=n_bins)
        empty = np.where(counts > 0, counts, np.nan)
        return cls(
            edges,
            counts,
            np.bincount(bins, probability, minlength=n_bins) / empty,
            np.bincount(bins, happened, minlength=n_bins) / empty,
        )

    @property
    def gaps(self) -> Floats:
        """By how much each bin promises too much: float64 [b], NaN in an empty bin."""
        return self.confidence - self.frequency

    @property
    def expected_calibration_error(self) -> float:
        """The mean gap between promise and frequency over all events, 0 to 1 (Guo et al., 2017)."""
        return float(np.nansum(np.abs(self.gaps) * self.counts) / self.counts.sum())


def calibration_noise(probability: Floats, n_bins: int = 15) -> float:
    """Estimate the expected calibration error that perfect probabilities would have by chance.

    The mean absolute deviation of a normal variable with each bin's variance.

    Args:
        probability: float64 [n], without NaN.
        n_bins: as for `Reliability.of`.
    """
    bins = np.searchsorted(np.linspace(0.0, 1.0, n_bins + 1)[1:-1], probability)
    variances = np.bincount(bins, probability * (1 - probability))
    return float(np.sqrt(2 / np.pi * variances).sum() / len(probability))


def surprises(truth_probability: Floats) -> Floats:
    """Compute the negative logarithm of what each true class was given, in nats: float64 [n].

    A probability below 2.2e-16 counts as that much, as in `sklearn.metrics.log_loss`.

    Args:
        truth_probability: float64 [n].
    """
    return -np.log(np.clip(truth_probability, _LEAST, 1.0))


def log_loss(truth_probability: Floats) -> float:
    """Compute the mean of the `surprises`, equal to `sklearn.metrics.log_loss` within 1e-12."""
    return float(surprises(truth_probability).mean())
