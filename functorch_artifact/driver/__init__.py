"""The driver: the one loop that touches the world.

Belongs here: the names of the family. Does not: any decision; those are the program's, and pure. What is
kept on disk and how (`runs.store`).
Floor 9.

`fitting` opens what a run needs and closes it, `loop` runs its epochs, `pace` says how many steps a call
takes, `seen` holds what batches gave until it is read, and `ledger` writes down what callbacks gave.
"""

from functorch_artifact.driver.fitting import ScoreWarning, fit
from functorch_artifact.driver.ledger import CallbackWarning
from functorch_artifact.driver.seen import NonfiniteLossWarning

__all__ = ["CallbackWarning", "NonfiniteLossWarning", "ScoreWarning", "fit"]
