"""Which artifacts there are, by name.

Belongs here: the enumerations, and the toolkit that knows what is behind each member. Does not:
the functions themselves (`scores`, `plots`), which of them a run wants (`plan`).
Floor 6.
"""

from __future__ import annotations

from functorch_artifact.artifacts import ArtifactType, Toolkit
from functorch_artifact.classification.evaluation import Evaluation


class ClassificationScoreType(ArtifactType):
    """Numbers."""

    ACCURACY = "ACCURACY"
    BALANCED_ACCURACY = "BALANCED_ACCURACY"
    TOP_K_ACCURACY = "TOP_K_ACCURACY"
    MCC = "MCC"
    COHEN_KAPPA = "COHEN_KAPPA"
    PRECISION_MACRO = "PRECISION_MACRO"
    PRECISION_MICRO = "PRECISION_MICRO"
    PRECISION_WEIGHTED = "PRECISION_WEIGHTED"
    RECALL_MACRO = "RECALL_MACRO"
    RECALL_MICRO = "RECALL_MICRO"
    RECALL_WEIGHTED = "RECALL_WEIGHTED"
    F1_MACRO = "F1_MACRO"
    F1_MICRO = "F1_MICRO"
    F1_WEIGHTED = "F1_WEIGHTED"
    ROC_AUC_MACRO = "ROC_AUC_MACRO"
    ROC_AUC_MICRO = "ROC_AUC_MICRO"
    ROC_AUC_WEIGHTED = "ROC_AUC_WEIGHTED"
    PR_AUC_MACRO = "PR_AUC_MACRO"
    PR_AUC_MICRO = "PR_AUC_MICRO"
    PR_AUC_WEIGHTED = "PR_AUC_WEIGHTED"
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


class ClassificationArrayType(ArtifactType):
    """Arrays."""

    CONFUSION_MATRIX = "CONFUSION_MATRIX"


class ClassificationPlotType(ArtifactType):
    """Pictures; curves show each class against the rest."""

    CONFUSION_MATRIX_PLOT = "CONFUSION_MATRIX_PLOT"
    ROC_CURVES = "ROC_CURVES"
    PR_CURVES = "PR_CURVES"
    DET_CURVES = "DET_CURVES"
    TOP_K_ACCURACY_CURVE = "TOP_K_ACCURACY_CURVE"
    CONFIDENCE_PDF = "CONFIDENCE_PDF"
    GROUND_TRUTH_PROB_PDF = "GROUND_TRUTH_PROB_PDF"
    RELIABILITY_DIAGRAM = "RELIABILITY_DIAGRAM"


class ClassificationScoreCollectionType(ArtifactType):
    """Numbers by name, most of them by class."""

    SUPPORT_BY_CLASS = "SUPPORT_BY_CLASS"
    PRECISION_BY_CLASS = "PRECISION_BY_CLASS"
    RECALL_BY_CLASS = "RECALL_BY_CLASS"
    F1_BY_CLASS = "F1_BY_CLASS"
    ROC_AUC_BY_CLASS = "ROC_AUC_BY_CLASS"
    PR_AUC_BY_CLASS = "PR_AUC_BY_CLASS"
    GROUND_TRUTH_PROB_STATS = "GROUND_TRUTH_PROB_STATS"


class ClassificationArrayCollectionType(ArtifactType):
    """Arrays by name."""

    CONFUSION_MATRICES = "CONFUSION_MATRICES"


class ClassificationPlotCollectionType(ArtifactType):
    """Pictures by name."""

    CONFUSION_MATRIX_PLOTS = "CONFUSION_MATRIX_PLOTS"


toolkit = Toolkit[Evaluation](
    "classification",
    {
        "evaluation": lambda evaluation: evaluation,
        "true": lambda evaluation: evaluation.true,
        "probabilities": lambda evaluation: evaluation.known_probabilities,
        "predicted": lambda evaluation: evaluation.known_codes,
        "spec": lambda evaluation: evaluation.spec,
    },
    bootstrap=Evaluation.bootstrap,
)
"""All artifacts of the domain: a function of one's own joins them by `@toolkit.score("NAME")`, and
may ask for `true` and `predicted` (places among the classes, int64 [n]), `probabilities` (float64
[n, k]), `spec`, or the whole `evaluation`."""
