"""Steps, programs, routines and clients that break one law each on purpose; `FLAWED` says which."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import attrs
import torch
from flawed_members import Transformation
from hypothesis import strategies as st
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, records, tracking, trees
from functorch_artifact.routines import Outcome
from functorch_artifact.step import TrainStep
from functorch_artifact.testing import laws
from functorch_artifact.testing import strategies as fas
from functorch_artifact.testing.law import Laws

FLAWED: Final[dict[tuple[str, str], Callable[[], Laws]]] = {}
BATCHES = st.fixed_dictionaries({"x": fas.tensors(shapes=(2, 1), elements=st.sampled_from([1.0, -1.0, 2.0]))})


class Net(nn.Module):
    """Two parameters, one of them frozen."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=False)
        self.offset = nn.Parameter(torch.ones(1), requires_grad=False)
        nn.init.constant_(self.linear.weight, 0.5)

    def forward(self, batch):
        return {"loss": (self.linear(self.look(batch["x"])) + self.offset).square().mean()}

    def look(self, x):
        return x


def breaks_step(law: str, step: type[TrainStep] = TrainStep, net: type[nn.Module] = Net, tx: Any = None) -> None:
    tx = optimizers.sgd(0.1) if tx is None else tx

    def made() -> Laws:
        model = fa.functional(net())
        return laws(step(model, tx), state=fa.init(model, tx), batches=BATCHES)

    FLAWED["check_step", law] = made


class Doubles(Net):
    def look(self, x):
        return x.mul_(2)


class OwnGenerator(Net):
    def __init__(self):
        super().__init__()
        self.generator = random.Random(0)

    def look(self, x):
        return x * self.generator.random()


class Remembers(Net):
    def __init__(self):
        super().__init__()
        self.seen = [0.0]

    def look(self, x):
        self.seen[0] += 1.0
        return x * self.seen[0]


class Counting(Net):
    def look(self, x):
        return x * (2.0 if float(x.sum()) > 0 else 1.0)


class Twice(TrainStep):
    def __call__(self, state, batch):
        return TrainStep.__call__(self, TrainStep.__call__(self, state, batch)[0], batch)


class Thaws(TrainStep):
    def __call__(self, state, batch):
        following, output = TrainStep.__call__(self, state, batch)
        return attrs.evolve(following, frozen=trees.map(lambda t: t + 1, following.frozen)), output


class Ascends(TrainStep):
    def __call__(self, state, batch):
        following, output = TrainStep.__call__(self, state, batch)
        return attrs.evolve(following, params=trees.map(lambda a, b: 2 * a - b, state.params, following.params)), output


class Attached(TrainStep):
    def __call__(self, state, batch):
        following, output = TrainStep.__call__(self, state, batch)
        return following, trees.map(lambda t: t.clone().requires_grad_(), output)


class GoesOn(TrainStep):
    def __call__(self, state, batch):
        return attrs.evolve(self, nonfinite="skip").kernel(state, batch)


breaks_step("a_step_is_pure", net=Doubles)
breaks_step("randomness_depends_on_seed_and_step_alone", net=OwnGenerator)
breaks_step("runs_do_not_disturb_each_other", net=Remembers)
breaks_step("a_step_counts_once", step=Twice)
breaks_step("the_state_keeps_its_structure", tx=Transformation(lambda p: (), lambda g, s, p: (g, g)))
breaks_step("what_is_frozen_stays", step=Thaws)
breaks_step("a_step_is_the_gradient_then_the_update", step=Ascends)
breaks_step("the_output_is_detached", step=Attached)
breaks_step("a_loss_that_is_not_finite_does_what_was_said", step=GoesOn)
breaks_step(
    "a_state_that_is_saved_goes_on_the_same",
    tx=Transformation(lambda p: frozenset(), lambda g, s, p: (trees.map(lambda x: -0.1 * x, g), s)),
)
breaks_step("captured_has_the_bits_of_eager", net=Remembers)


class Right(fa.Program):
    """A program to go wrong from, and its parts."""

    @classmethod
    def make(cls) -> fa.Program:
        loader = fa.DataLoader(fa.ResidentDataset({"x": torch.ones(4, 1)}), batch_size=2)
        return cls(
            model=Net(),
            optimizer=optimizers.sgd(optimizers.exponential(0.1, gamma=0.5, per="epoch")),
            train_loader=loader,
            stopper=fa.ScoreMinimizationStopper("VAL_LOSS", max_n_epochs=9, patience=2),
            tracker=fa.ScoreTracker("VAL_LOSS", mode="min"),
            loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()], split="VALIDATION")],
        )


def breaks_program(law: str) -> Callable[[type[Right]], type[Right]]:
    def register(cls: type[Right]) -> type[Right]:
        FLAWED["check_program", law] = lambda: laws(cls.make())
        return cls

    return register


@breaks_program("advance_is_pure")
class WritesScores(Right):
    def advance(self, state, scores):
        following = fa.Program.advance(self, state, scores)
        scores.clear()
        return following


@breaks_program("advance_depends_on_its_arguments_alone")
class Noisy(Right):
    def advance(self, state, scores):
        return fa.Program.advance(self, state, {**scores, "VAL_LOSS": random.random()})


@breaks_program("an_epoch_is_counted_once")
class KeepsTheBatch(Right):
    def advance(self, state, scores):
        return attrs.evolve(fa.Program.advance(self, state, scores), batch=state.batch)


@breaks_program("scores_go_to_the_row_of_their_epoch")
class RowBefore(Right):
    def advance(self, state, scores):
        following = fa.Program.advance(self, state, scores)
        return attrs.evolve(following, scores=state.scores.append(int(state.epoch), scores))


@breaks_program("the_optimizer_is_told_of_each_epoch_once")
class ToldTwice(Right):
    def advance(self, state, scores):
        following = fa.Program.advance(self, state, scores)
        return attrs.evolve(following, opt_state=self.optimizer.on_epoch(following.opt_state, scores))


@breaks_program("the_stopper_is_told_of_this_epoch")
class OneEpochLate(Right):
    def advance(self, state, scores):
        data = fa.StopperUpdateData(int(state.epoch), state.scores.latest())
        return attrs.evolve(fa.Program.advance(self, state, scores), stopper=self.stopper.update(state.stopper, data))


@breaks_program("the_tracker_is_offered_the_model_of_this_epoch")
class NeverTracked(Right):
    def advance(self, state, scores):
        return attrs.evolve(fa.Program.advance(self, state, scores), tracker=state.tracker)


class Routine(fa.DataLoaderRoutine[Any, Any]):
    """A routine to go wrong from."""


def breaks_routine(law: str) -> Callable[[type[Routine]], type[Routine]]:
    def register(cls: type[Routine]) -> type[Routine]:
        loader = fa.DataLoader(fa.ResidentDataset({"x": torch.ones(4, 1)}), batch_size=2)
        FLAWED["check_routine", law] = lambda: laws(cls(loader, [fa.ValLossCallback(period=2)], split="VALIDATION"))
        return cls

    return register


@breaks_routine("nothing_fails")
class Fails(Routine):
    def run(self, results, epoch, step, **options):
        failure = fa.routines.Failure("VAL_LOSS", epoch, self.split, KeyError("loss"))
        return Outcome((), (failure,))


@breaks_routine("records_belong_to_their_epoch_and_step")
class EpochFromZero(Routine):
    def run(self, results, epoch, step, **options):
        made = fa.DataLoaderRoutine.run(self, results, epoch, step, **options)
        return attrs.evolve(made, records=tuple(attrs.evolve(each, epoch=each.epoch - 1) for each in made.records))


@breaks_routine("running_changes_nothing")
class Scales(Routine):
    def run(self, results, epoch, step, **options):
        for result in results:
            result.output["loss"].mul_(2)
        return fa.DataLoaderRoutine.run(self, results, epoch, step, **options)


@breaks_routine("the_same_run_gives_the_same_records")
class Invents(Routine):
    def run(self, results, epoch, step, **options):
        return Outcome((records.Record("VAL_LOSS", records.Score(random.random()), epoch, step, self.split),))


@breaks_routine("scores_are_declared")
class LogsMore(Routine):
    def run(self, results, epoch, step, **options):
        return Outcome((records.Record("OTHER", records.Score(0.0), epoch, step, self.split),))


@breaks_routine("only_what_is_due_runs")
class Always(Routine):
    def run(self, results, epoch, step, **options):
        return fa.DataLoaderRoutine.run(self, results, epoch, step, only_due=False)


@breaks_routine("callbacks_are_kept_apart")
class MeanOfAll(Routine):
    def run(self, results, epoch, step, **options):
        made = fa.DataLoaderRoutine.run(self, results, epoch, step, **options)
        return attrs.evolve(made, records=made.records[1:] if epoch == 2 and self.callbacks[1:] else made.records)


FLAWED["check_routine", "callbacks_are_kept_apart"] = lambda: laws(
    MeanOfAll(None, [fa.ValLossCallback(), fa.TrainLossCallback()], split="VALIDATION")
)


@breaks_routine("a_callback_that_raises_stops_no_other")
class StopsAtTheFirst(Routine):
    def run(self, results, epoch, step, **options):
        made = fa.DataLoaderRoutine.run(self, results, epoch, step, **options)
        return Outcome((), made.failures) if made.failures else made


def read(client: tracking.InMemory) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.scores().itertuples(index=False)]


def breaks_client(law: str, *, readable: bool = False) -> Callable[[type[Any]], type[Any]]:
    def register(cls: type[Any]) -> type[Any]:
        options = {"read": read} if readable else {}
        FLAWED["check_tracking_client", law] = lambda: laws(lambda directory: cls(), **options)
        return cls

    return register


@breaks_client("records_of_every_kind_are_taken")
class ScoresOnly(tracking.InMemory):
    def log(self, records):
        for record in records:
            float(record.value.value)


@breaks_client("logging_changes_no_record")
class Empties(tracking.InMemory):
    def log(self, records):
        records.clear()


@breaks_client("closing_twice_is_closing_once")
class ClosesOnce(tracking.InMemory):
    def close(self):
        del self.run


@breaks_client("numbers_are_stored_as_they_are", readable=True)
class NanIsZero(tracking.InMemory):
    def log(self, offered):
        super().log([attrs.evolve(each, value=records.Score(0.0)) for each in offered])


@breaks_client("an_offer_taken_twice_is_stored_once", readable=True)
class Appends(tracking.InMemory):
    def log(self, offered):
        self._records |= {(*place, len(self._records)): record for place, record in keyed(offered).items()}


@breaks_client("offers_can_be_cut_anywhere", readable=True)
class LastOffer(tracking.InMemory):
    def log(self, offered):
        self._records = keyed(offered)


def keyed(offered: list[records.Record]) -> dict[Any, records.Record]:
    return {(each.name, each.split, each.epoch, each.step): each for each in offered}
