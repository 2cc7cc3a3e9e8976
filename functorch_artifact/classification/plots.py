"""Pictures of predictions of several classes.

Belongs here: the function behind each plot and plot collection. Does not: how a curve or a matrix
is drawn (`metrics.plots`).
Floor 6.

Curves show each class against the rest and, with more than two, their mean; of more than ten
classes only the mean has a name. Examples without a prediction or probabilities are left out of
pictures of counts and densities; a curve that is undefined becomes a picture of the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from functorch_artifact.classification.artifacts import toolkit
from functorch_artifact.classification.evaluation import Evaluation
from functorch_artifact.errors import UndefinedError
from functorch_artifact.metrics import plots
from functorch_artifact.metrics.calibration import Reliability
from functorch_artifact.metrics.confusion import NORMALIZATIONS, Normalization
from functorch_artifact.metrics.ranking import Ranking
from functorch_artifact.metrics.statistics import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GRID: Final = np.linspace(0.0, 1.0, 201)
_ROC: Final = "Receiver operating characteristic\nof each class against the rest"
_PR: Final = "Precision and recall\nof each class against the rest"
_DET: Final = "Detection error tradeoff\nof each class against the rest"

Lines = dict[str, tuple[Floats, Floats]]


@toolkit.plot("CONFUSION_MATRIX_PLOT")
def confusion_matrix_plot(evaluation: Evaluation, normalization: Normalization = "NONE") -> Figure:
    """Draw the confusion matrix."""
    return plots.matrix(evaluation.confusion, evaluation.spec.class_names, normalization)


@toolkit.plot_collection("CONFUSION_MATRIX_PLOTS")
def confusion_matrix_plots(
    evaluation: Evaluation, normalization_types: Sequence[Normalization] = NORMALIZATIONS
) -> dict[str, Figure]:
    """Draw the confusion matrix in several normalizations."""
    return {each: plots.matrix(evaluation.confusion, evaluation.spec.class_names, each) for each in normalization_types}


@toolkit.plot("ROC_CURVES")
def roc_curves(evaluation: Evaluation) -> Figure:
    """Draw the receiver operating characteristic of each class against the rest."""

    def draw() -> Figure:
        roc, _ = evaluation.areas
        lines = _lines(evaluation, lambda ranking: ranking.roc_curve(), roc)
        mean = f"mean, area {np.nanmean(roc):.3f}"
        heights = [np.interp(_GRID, x, y) for x, y in lines.values()]
        if len(lines) > 2:
            lines[mean] = np.insert(_GRID, 0, 0.0), np.insert(np.mean(heights, axis=0), 0, 0.0)
        return plots.curves(
            lines,
            _ROC,
            ("false positive rate", "recall"),
            baseline=([0, 1], [0, 1], "chance"),
            emphasis=mean,
        )

    return plots.drawn(_ROC, draw)


@toolkit.plot("PR_CURVES")
def pr_curves(evaluation: Evaluation) -> Figure:
    """Draw precision by recall of each class against the rest."""

    def draw() -> Figure:
        _, areas = evaluation.areas
        lines = _lines(evaluation, lambda ranking: plots.steps(*ranking.precision_recall_curve()), areas)
        mean = f"mean, average precision {np.nanmean(areas):.3f}"
        # From the right, where a step's precision is the one of the point that ends it.
        heights = [y[np.searchsorted(x, _GRID).clip(max=len(x) - 1)] for x, y in lines.values()]
        if len(lines) > 2:
            lines[mean] = _GRID, np.mean(heights, axis=0)
        return plots.curves(lines, _PR, ("recall", "precision"), emphasis=mean)

    return plots.drawn(_PR, draw)


@toolkit.plot("DET_CURVES")
def det_curves(evaluation: Evaluation) -> Figure:
    """Draw the errors that each class trades against the rest."""

    def rates(ranking: Ranking) -> tuple[Floats, Floats]:
        false_positive_rate, recall = ranking.roc_curve()
        return false_positive_rate, 1 - recall

    return plots.drawn(
        _DET,
        lambda: plots.error_tradeoff(_lines(evaluation, rates), _DET),
    )


@toolkit.plot("TOP_K_ACCURACY_CURVE")
def top_k_accuracy_curve(evaluation: Evaluation) -> Figure:
    """Draw how often the true class is among the k likeliest, for each k."""

    def draw() -> Figure:
        k = evaluation.spec.n_classes
        shares = np.cumsum(np.bincount(evaluation.truth_ranks, minlength=k)) / len(evaluation.true)
        return plots.top_k(shares, "True class among the k likeliest")

    return plots.drawn("True class among the k likeliest", draw)


@toolkit.plot("CONFIDENCE_PDF")
def confidence_pdf(evaluation: Evaluation) -> Figure:
    """Draw how sure the model is where it is right, and where it is wrong."""

    def draw() -> Figure:
        right, confidence = evaluation.confidence
        groups = {"right": confidence[right], "wrong": confidence[~right]}
        return plots.densities(groups, "Confidence of the predictions", "probability of the predicted class")

    return plots.drawn("Confidence of the predictions", draw)


@toolkit.plot("GROUND_TRUTH_PROB_PDF")
def ground_truth_prob_pdf(evaluation: Evaluation) -> Figure:
    """Draw how what the true classes were given is distributed."""
    return plots.densities(
        {"examples": evaluation.truth_probabilities}, "Probability of the true class", "probability of the true class"
    )


@toolkit.plot("RELIABILITY_DIAGRAM")
def reliability_diagram(evaluation: Evaluation, n_bins: int = 15) -> Figure:
    """Draw how often predictions are right against how sure the model was."""
    labels = "probability of the predicted class", "share of right predictions"
    return plots.drawn(
        "Reliability",
        lambda: plots.reliability_diagram(Reliability.of(*evaluation.confidence, n_bins=n_bins), "Reliability", labels),
    )


def _lines(
    evaluation: Evaluation, line: Callable[[Ranking], tuple[Floats, Floats]], areas: Floats | None = None
) -> Lines:
    """Compute the curve of each class that has examples and is not alone."""
    lines: Lines = {}
    for place, (name, ranking) in enumerate(zip(evaluation.spec.class_names, evaluation.rankings(), strict=True)):
        if ranking.n_positives and ranking.n_negatives:
            lines[str(name) if areas is None else f"{name}, {areas[place]:.3f}"] = line(ranking.corners())
    if not lines:
        raise UndefinedError("all labels are of one class")
    return lines
