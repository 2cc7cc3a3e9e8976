"""Numbers about predictions, as pure functions of arrays.

Belongs here: the front door of what the classification toolkits share. Does not: models, plans,
artifacts (the toolkits), folds over batches (`folds`).
Floor 2.

| module | what it knows |
|---|---|
| `labels` | class names, labels and probabilities of any dtype as arrays |
| `confusion` | counts of true against predicted classes, and what follows from them |
| `ranking` | one sort by score: curves and the areas under them |
| `calibration` | whether probabilities are frequencies |
| `influence` | standard errors: what one example does to a score |
| `statistics` | descriptive statistics of one column of numbers |
"""

from functorch_artifact.metrics import calibration, confusion, influence, labels, ranking, statistics

__all__ = ["calibration", "confusion", "influence", "labels", "ranking", "statistics"]
