"""What the members of an ensemble are: a program each, and what makes a member's step of its numbers.

Belongs here: `ensemble`, `Ensemble`. Does not: training them (`running`).
Floor 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor, nn

from functorch_artifact import keys
from functorch_artifact.compiling import Mode
from functorch_artifact.ensembles.result import EnsembleResult
from functorch_artifact.ensembles.running import train
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.model import FunctionalModel, functional
from functorch_artifact.optimizers import GradientTransformation, with_rates
from functorch_artifact.program import Program
from functorch_artifact.records import TrackingClient
from functorch_artifact.step import TrainStep

if TYPE_CHECKING:
    import pandas as pd


@attrs.frozen(eq=False)
class Ensemble:
    """Runs that differ in seed and in numbers, and share a kernel; made by `ensemble`."""

    programs: tuple[Program, ...] = attrs.field(repr=False)  # each member as it is alone
    hyperparameters: dict[str, tuple[float, ...]]
    make: Callable[[dict[str, Tensor]], TrainStep] = attrs.field(repr=False)
    mode: Mode
    chunk_size: int

    def __len__(self) -> int:
        """Count the members."""
        return len(self.programs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Each member's seed."""
        return tuple(program.seed for program in self.programs)

    @property
    def table(self) -> pd.DataFrame:
        """What distinguishes the members: seed and hyper-parameters, indexed by member."""
        import pandas as pd

        index = pd.RangeIndex(len(self), name="member")
        return pd.DataFrame({"seed": self.seeds, **self.hyperparameters}, index=index)

    def fit(
        self,
        *,
        tracking_client: Callable[[int], TrackingClient | Sequence[TrackingClient]] | None = None,
        progress: bool = True,
    ) -> EnsembleResult:
        """Train all members until each one's stopper says stop.

        A member whose loss is not finite leaves the others alone: with the policy `raise` it stays
        as it was when the epoch began, `stop` and `skip` do what they do for a run alone. Members
        that have stopped leave the kernel when half of it, or a quarter, is enough for the rest:
        each width is a signature of its own.

        Args:
            tracking_client: gives, for the number of a member, who takes its records.
            progress: whether to report to standard error.

        Raises:
            CallbackError: a callback raised (see `Program.on_callback_error`).
            DataError: the train loader is empty.
        """
        results = train(
            self.programs,
            self.hyperparameters,
            self.make,
            mode=self.mode,
            chunk_size=self.chunk_size,
            tracking_client=tracking_client,
            progress=progress,
        )
        return EnsembleResult(self.table, results)


def ensemble(
    program: Program | Callable[..., Program],
    *,
    seeds: int | Iterable[int],
    hyperparameters: Mapping[str, Sequence[float]] | None = None,
    model: Callable[[], nn.Module] | None = None,
    mode: Mode = "captured",
    chunk_size: int | None = None,
) -> Ensemble:
    """Make one program many runs that are trained in one vmapped kernel.

    Member i is the run of its program alone: same seed, same data order, same dropout, own
    BatchNorm statistics, own stopper, tracker and scores; in float64 parameters within 1e-9.

    Args:
        program: the program; or a function of hyper-parameters to one. Inside the kernel it is
            called with tensors (float64 []) in their place, which may go where numbers of
            optimizers, schedules and losses go.
        seeds: a seed for each member, or one for all of them.
        hyperparameters: a value for each member: arguments of the function, or, of a program,
            constant rates of its optimizer such as `lr` (see `optimizers.with_rates`).
        model: makes the model of each member, under a key of its seed; by default all start with
            the program's weights.
        mode: how the kernel runs; see `compile`.
        chunk_size: how many members share a kernel at most; all of them by default. On a CPU large
            models are faster in chunks whose states fit into its cache.

    Raises:
        ConfigurationError: the numbers of seeds and values differ, or members differ in more than
            numbers.
        OptimizerError: a hyper-parameter is no constant rate of the program's optimizer.

    Example:
        >>> import torch
        >>> import functorch_artifact as fa
        >>> from functorch_artifact import optimizers
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> loader = fa.DataLoader(fa.ResidentDataset((x, 3 * x)), batch_size=16, shuffle=True)
        >>> program = fa.Program(
        ...     model=fa.functional(torch.nn.Linear(1, 1), inputs=lambda batch: batch[0]),
        ...     optimizer=optimizers.sgd(0.1),
        ...     loss=lambda out, batch: (out - batch[1]).square().mean(),
        ...     train_loader=loader,
        ...     loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
        ...     stopper=fa.EpochBoundStopper(n_epochs=3),
        ...     tracker=fa.ScoreTracker("VAL_LOSS", mode="min"),
        ... )
        >>> members = fa.ensemble(program, seeds=range(3), hyperparameters={"lr": [0.001, 0.01, 0.1]})
        >>> result = members.fit(progress=False)
        >>> result.best_member, len(result.scores)
        (2, 9)
    """
    given = {name: tuple(map(float, values)) for name, values in (hyperparameters or {}).items()}
    lengths = {name: len(values) for name, values in given.items()}
    if not isinstance(seeds, int):
        seeds = tuple(seeds)
        lengths["seeds"] = len(seeds)
    n = next(iter(lengths.values()), 1)
    if set(lengths.values()) - {n} or n == 0:
        raise ConfigurationError(
            "do not agree on the number of members",
            where="ensemble",
            expected="one seed, or as many seeds as values of each hyper-parameter, and at least one",
            got=", ".join(f"{name}: {length}" for name, length in lengths.items()),
            fix="for every combination, pass the columns of itertools.product",
        )
    if chunk_size is not None and chunk_size < 1:
        raise ConfigurationError("is too small", where="chunk_size", expected="at least 1", got=chunk_size)
    each = (seeds,) * n if isinstance(seeds, int) else seeds
    programs = []
    for member, seed in enumerate(each):
        own = {name: torch.tensor(values[member], dtype=torch.float64) for name, values in given.items()}
        with keys.seeded(keys.derive(seed, "init")):
            made = _with_rates(program, own) if isinstance(program, Program) else _called(program, own)
            changes: dict[str, Any] = {"seed": seed}
            if model is not None:
                changes["model"] = functional(model(), inputs=made.model.inputs)
            programs.append(attrs.evolve(made, **changes))
    return Ensemble(
        tuple(programs),
        given,
        _maker(program, None if model is None else programs[0].model),
        mode,
        min(n, chunk_size or n),
    )


def _with_rates(program: Program, own: dict[str, Tensor]) -> Program:
    if not own:
        return program
    tx = program.optimizer
    held = GradientTransformation(lambda params: with_rates(tx.init(params), own), tx.update, tx.on_epoch)
    held.init(program.model.variables.params)  # a name that there is not is refused here
    return attrs.evolve(program, optimizer=held)


def _called(make: Callable[..., Program], own: dict[str, Tensor]) -> Program:
    numbers = make(**{name: value.item() for name, value in own.items()})  # what is out of range is refused here
    try:
        return make(**own)
    except Exception:
        return numbers  # some argument takes no tensor; the joint step will find out as well, and say so


def _maker(
    program: Program | Callable[..., Program], model: FunctionalModel[Any] | None
) -> Callable[[dict[str, Tensor]], TrainStep]:
    """Make what makes a member's step; with the code of `model`, if the members have one of their own."""

    def make(own: dict[str, Tensor]) -> TrainStep:
        made = (program if isinstance(program, Program) else program(**own)).step
        return made if model is None else attrs.evolve(made, model=model)

    if isinstance(program, Program):
        step = make({})
        return lambda own: step  # the rates are in the states
    return make
