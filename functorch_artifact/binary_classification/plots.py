"""Pictures of predictions of two classes.

Belongs here: the function behind each plot and plot collection. Does not: how a curve or a matrix
is drawn (`metrics.plots`).
Floor 6.

Examples without a prediction or a probability are left out of pictures of counts and densities; a
curve that is undefined becomes a picture of the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from functorch_artifact.artifacts import choose
from functorch_artifact.binary_classification.artifacts import toolkit
from functorch_artifact.binary_classification.evaluation import SPLITS, BinaryEvaluation, Split
from functorch_artifact.metrics import plots
from functorch_artifact.metrics.calibration import Reliability
from functorch_artifact.metrics.confusion import NORMALIZATIONS, Normalization
from functorch_artifact.metrics.statistics import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@toolkit.plot("CONFUSION_MATRIX_PLOT")
def confusion_matrix_plot(evaluation: BinaryEvaluation, normalization: Normalization = "NONE") -> Figure:
    """Draw the confusion matrix, the positive class first."""
    names = evaluation.spec.positive_class, evaluation.spec.negative_class
    return plots.matrix(evaluation.confusion, names, normalization)


@toolkit.plot_collection("CONFUSION_MATRIX_PLOTS")
def confusion_matrix_plots(
    evaluation: BinaryEvaluation, normalization_types: Sequence[Normalization] = NORMALIZATIONS
) -> dict[str, Figure]:
    """Draw the confusion matrix in several normalizations."""
    return {each: confusion_matrix_plot.function(evaluation, normalization=each) for each in normalization_types}


def _roc(evaluation: BinaryEvaluation) -> Figure:
    ranking = evaluation.ranking
    return plots.curves(
        {f"model, area {ranking.roc_auc():.3f}": ranking.roc_curve()},
        "Receiver operating characteristic",
        ("false positive rate", "recall"),
        baseline=([0, 1], [0, 1], "chance"),
    )


def _precision_recall(evaluation: BinaryEvaluation) -> Figure:
    ranking = evaluation.ranking
    recall, precision = ranking.precision_recall_curve()
    return plots.curves(
        # A step back from each point, as the area under it is taken.
        {f"model, average precision {ranking.average_precision():.3f}": plots.steps(recall, precision)},
        "Precision and recall",
        ("recall", "precision"),
        baseline=_prevalence(evaluation),
    )


def _error_tradeoff(evaluation: BinaryEvaluation) -> Figure:
    false_positive_rate, recall = evaluation.ranking.roc_curve()
    return plots.error_tradeoff({"model": (false_positive_rate, 1 - recall)}, "Detection error tradeoff")


def _recall_by_threshold(evaluation: BinaryEvaluation) -> Figure:
    ranking = evaluation.ranking
    return plots.curves(
        {"model": plots.steps(*_falling_to_rising(ranking.thresholds, ranking.recall()))},
        "Recall by threshold",
        ("threshold", "recall"),
    )


def _precision_by_threshold(evaluation: BinaryEvaluation) -> Figure:
    ranking = evaluation.ranking
    return plots.curves(
        {"model": plots.steps(*_falling_to_rising(ranking.thresholds, ranking.precision()))},
        "Precision by threshold",
        ("threshold", "precision"),
        baseline=_prevalence(evaluation),
    )


CURVES: Final[Mapping[str, tuple[str, str, Callable[[BinaryEvaluation], Figure]]]] = {
    "ROC": ("ROC_CURVE", "Receiver operating characteristic", _roc),
    "PR": ("PR_CURVE", "Precision and recall", _precision_recall),
    "DET": ("DET_CURVE", "Detection error tradeoff", _error_tradeoff),
    "RECALL_THRESHOLD": ("RECALL_THRESHOLD_CURVE", "Recall by threshold", _recall_by_threshold),
    "PRECISION_THRESHOLD": ("PRECISION_THRESHOLD_CURVE", "Precision by threshold", _precision_by_threshold),
}
"""Curves by key: the plot's name, what to call it if it is undefined, and how to draw it."""


def _curve(key: str) -> None:
    name, title, draw = CURVES[key]

    @toolkit.plot(name)
    def curve(evaluation: BinaryEvaluation) -> Figure:
        return plots.drawn(title, lambda: draw(evaluation))


for _key in CURVES:
    _curve(_key)


@toolkit.plot_collection("THRESHOLD_VARIATION_CURVES")
def threshold_variation_curves(
    evaluation: BinaryEvaluation, curve_types: Sequence[str] = tuple(CURVES)
) -> dict[str, Figure]:
    """Draw what thresholds trade, in several ways."""
    keys = choose(curve_types, CURVES, "curve_types")
    return {key: toolkit.find(CURVES[key][0]).function(evaluation) for key in keys}


@toolkit.plot("SCORE_PDF")
def score_pdf(evaluation: BinaryEvaluation) -> Figure:
    """Draw how the probabilities of either class are distributed."""
    spec, probabilities, positive = evaluation.spec, evaluation.probabilities, evaluation.positive
    groups = {
        f"positive: {spec.positive_class}": probabilities[positive],
        f"negative: {spec.negative_class}": probabilities[~positive],
    }
    return plots.densities(groups, "Probability of the positive class", "probability of the positive class")


@toolkit.plot_collection("SCORE_PDF_PLOTS")
def score_pdf_plots(evaluation: BinaryEvaluation, split_types: Sequence[Split] = SPLITS) -> dict[str, Figure]:
    """Draw how the probabilities are distributed, of all examples and by true class."""
    splits = choose(split_types, SPLITS, "split_types")
    return {
        split: plots.densities(
            {split.lower(): evaluation.probabilities[evaluation.of_split(split)]},
            f"Probability of the positive class: {'all examples' if split == 'ALL' else f'{split.lower()} examples'}",
            "probability of the positive class",
        )
        for split in splits
    }


@toolkit.plot("GROUND_TRUTH_PROB_PDF")
def ground_truth_prob_pdf(evaluation: BinaryEvaluation) -> Figure:
    """Draw how what the true classes were given is distributed."""
    return plots.densities(
        {"examples": evaluation.truth_probabilities}, "Probability of the true class", "probability of the true class"
    )


@toolkit.plot("RELIABILITY_DIAGRAM")
def reliability_diagram(evaluation: BinaryEvaluation, n_bins: int = 15) -> Figure:
    """Draw how often the positive class came against how often it was promised."""
    labels = "probability of the positive class", "share of positive examples"
    return plots.drawn(
        "Reliability",
        lambda: plots.reliability_diagram(
            Reliability.of(evaluation.positive, evaluation.known_probabilities, n_bins), "Reliability", labels
        ),
    )


def _prevalence(evaluation: BinaryEvaluation) -> tuple[list[float], list[float], str]:
    share = float(evaluation.positive.mean())
    return [0, 1], [share, share], f"chance, {share:.2f}"


def _falling_to_rising(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return x[::-1], y[::-1]
