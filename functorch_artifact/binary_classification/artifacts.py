"""Which artifacts there are, by name.

Belongs here: the enumerations, and the toolkit that knows what is behind each member. Does not:
the functions themselves (`scores`, `plots`), which of them a run wants (`plan`).
Floor 6.
"""

from __future__ import annotations

from functorch_artifact.artifacts import ArtifactType, Toolkit
from functorch_artifact.binary_classification.evaluation import BinaryEvaluation


class BinaryClassificationScoreType(ArtifactType):
    """Numbers."""

    ACCURACY = "ACCURACY"
    BALANCED_ACCURACY = "BALANCED_ACCURACY"
    PRECISION = "PRECISION"
    NPV = "NPV"
    RECALL = "RECALL"
    TNR = "TNR"
    FPR = "FPR"
    FNR = "FNR"
    F1 = "F1"
    MCC = "MCC"
    COHEN_KAPPA = "COHEN_KAPPA"
    ROC_AUC = "ROC_AUC"
    PR_AUC = "PR_AUC"
    LOG_LOSS = "LOG_LOSS"
    BRIER_SCORE = "BRIER_SCORE"
    EXPECTED_CALIBRATION_ERROR = "EXPECTED_CALIBRATION_ERROR"
    GROUND_TRUTH_PROB_MEAN = "GROUND_TRUTH_PROB_MEAN"
    GROUND_TRUTH_PROB_STD = "GROUND_TRUTH_PROB_STD"
    GROUND_TRUTH_PROB_VARIANCE = "GROUND_TRUTH_PROB_VARIANCE"
    GROUND_TRUTH_PROB_MEDIAN = "GROUND_TRUTH_PROB_MEDIAN"
    GROUND_TRUTH_PROB_FIRST_QUARTILE = "GROUND_TRUTH_PROB_FIRST_QUARTILE"
    GROUND_TRUTH_PROB_THIRD_QUARTILE = "GROUND_TRUTH_PROB_THIRD_QUARTILE"
    GROUND_TRUTH_PROB_MIN = "GROUND_TRUTH_PROB_MIN"
    GROUND_TRUTH_PROB_MAX = "GROUND_TRUTH_PROB_MAX"


class BinaryClassificationArrayType(ArtifactType):
    """Arrays."""

    CONFUSION_MATRIX = "CONFUSION_MATRIX"


class BinaryClassificationPlotType(ArtifactType):
    """Pictures."""

    CONFUSION_MATRIX_PLOT = "CONFUSION_MATRIX_PLOT"
    ROC_CURVE = "ROC_CURVE"
    PR_CURVE = "PR_CURVE"
    DET_CURVE = "DET_CURVE"
    RECALL_THRESHOLD_CURVE = "RECALL_THRESHOLD_CURVE"
    PRECISION_THRESHOLD_CURVE = "PRECISION_THRESHOLD_CURVE"
    SCORE_PDF = "SCORE_PDF"
    GROUND_TRUTH_PROB_PDF = "GROUND_TRUTH_PROB_PDF"
    RELIABILITY_DIAGRAM = "RELIABILITY_DIAGRAM"


class BinaryClassificationScoreCollectionType(ArtifactType):
    """Numbers by name."""

    NORMALIZED_CONFUSION_COUNTS = "NORMALIZED_CONFUSION_COUNTS"
    BINARY_PREDICTION_SCORES = "BINARY_PREDICTION_SCORES"
    THRESHOLD_VARIATION_SCORES = "THRESHOLD_VARIATION_SCORES"
    SCORE_STATS = "SCORE_STATS"
    POSITIVE_CLASS_SCORE_STATS = "POSITIVE_CLASS_SCORE_STATS"
    NEGATIVE_CLASS_SCORE_STATS = "NEGATIVE_CLASS_SCORE_STATS"
    SCORE_MEANS = "SCORE_MEANS"
    SCORE_STDS = "SCORE_STDS"
    SCORE_VARIANCES = "SCORE_VARIANCES"
    SCORE_MEDIANS = "SCORE_MEDIANS"
    SCORE_FIRST_QUARTILES = "SCORE_FIRST_QUARTILES"
    SCORE_THIRD_QUARTILES = "SCORE_THIRD_QUARTILES"
    SCORE_MINIMA = "SCORE_MINIMA"
    SCORE_MAXIMA = "SCORE_MAXIMA"
    GROUND_TRUTH_PROB_STATS = "GROUND_TRUTH_PROB_STATS"


class BinaryClassificationArrayCollectionType(ArtifactType):
    """Arrays by name."""

    CONFUSION_MATRICES = "CONFUSION_MATRICES"


class BinaryClassificationPlotCollectionType(ArtifactType):
    """Pictures by name."""

    CONFUSION_MATRIX_PLOTS = "CONFUSION_MATRIX_PLOTS"
    THRESHOLD_VARIATION_CURVES = "THRESHOLD_VARIATION_CURVES"
    SCORE_PDF_PLOTS = "SCORE_PDF_PLOTS"


toolkit = Toolkit[BinaryEvaluation](
    "binary_classification",
    {
        "evaluation": lambda evaluation: evaluation,
        "true": lambda evaluation: evaluation.positive,
        "probabilities": lambda evaluation: evaluation.known_probabilities,
        "predicted": lambda evaluation: evaluation.predicted_positive,
        "spec": lambda evaluation: evaluation.spec,
    },
    bootstrap=BinaryEvaluation.bootstrap,
)
"""All artifacts of the domain: a function of one's own joins them by `@toolkit.score("NAME")`, and
may ask for `true` and `predicted` (is it positive? bool [n]), `probabilities` (float64 [n]),
`spec`, or the whole `evaluation`."""
