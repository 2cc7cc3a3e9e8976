"""Routines of the tabular domain, run on a real synthesizer."""

from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from functorch_artifact import keys, records
from functorch_artifact.contracts import ModelInput, ModelOutput
from functorch_artifact.errors import ConfigurationError, TableError
from functorch_artifact.table_comparison import (
    Artifact,
    GenerationParams,
    TableComparisonPlan,
    TableComparisonRoutine,
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
    TableSynthesizer,
    TabularSpec,
    evaluate,
)


class Batch(ModelInput):
    x: Tensor  # float32 [n, 2]


@attrs.frozen
class Scaled(GenerationParams):
    scale: float = 1.0


class Gaussian(TableSynthesizer[Batch, ModelOutput, Scaled]):
    """Independent normal columns, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(2))
        self.asked: list[Scaled] = []

    def forward(self, batch: Batch) -> ModelOutput:
        return {"loss": ((batch["x"] - self.mean) ** 2).mean()}

    def generate(self, generation_params: Scaled) -> pd.DataFrame:
        self.asked.append(generation_params)
        drawn = self.mean + generation_params.scale * torch.randn(generation_params.n_records, 2)
        return pd.DataFrame(drawn.detach().numpy(), columns=["a", "b"])


REAL = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 2)), columns=["a", "b"])
SPEC = TabularSpec.from_frame(REAL)


class Declared(TableComparisonRoutine[Scaled]):
    @staticmethod
    def _get_period() -> int:
        return 2

    @staticmethod
    def _get_generation_params() -> Scaled:
        return Scaled(n_records=300, scale=2.0)

    @staticmethod
    def _get_artifact_plan() -> TableComparisonPlan:
        return TableComparisonPlan.of(TableComparisonScoreType.MEAN_JS_DISTANCE)

    @staticmethod
    def _get_export_period() -> int | None:
        return 4


def test_a_routine_by_hooks_runs_when_due_and_exports_when_due():
    model, routine = Gaussian(), Declared.build(REAL, SPEC)
    assert [epoch for epoch in range(1, 9) if routine.due(epoch)] == [2, 4, 6, 8]
    assert routine.score_names == ("MEAN_JS_DISTANCE",)
    assert routine.split == "VALIDATION"
    names = {epoch: [record.name for record in routine.run(model, epoch, 10 * epoch).records] for epoch in (2, 4)}
    assert names == {2: ["MEAN_JS_DISTANCE"], 4: ["MEAN_JS_DISTANCE", "SYNTHETIC"]}
    assert model.asked == [Scaled(300, 2.0)] * 2


def test_records_carry_their_place_and_hold_what_evaluate_gives():
    model = Gaussian()
    routine = TableComparisonRoutine(REAL, SPEC, Scaled(250), period=3, export_period=3, split="TEST")
    with keys.seeded(7):
        outcome = routine.run(model, epoch=3, step=30)
    assert outcome.failures == ()
    assert {(each.epoch, each.step, each.split) for each in outcome.records} == {(3, 30, "TEST")}
    values = {each.name: each.value for each in outcome.records}
    with keys.seeded(7):
        synthetic = model.generate(Scaled(250))
    pd.testing.assert_frame_equal(values.pop("SYNTHETIC").frame, synthetic)
    assert repr(values) == repr(evaluate(REAL, synthetic, SPEC).values)
    assert set(records.scores(outcome.records)) >= {
        "MEAN_JS_DISTANCE", "CORRELATION_DISTANCE", "JS_DISTANCE/a", "JS_DISTANCE/b",
    }  # fmt: skip


def test_a_routine_of_its_hooks_defaults_computes_all_scores_every_epoch_and_never_exports():
    class Least(TableComparisonRoutine[Scaled]):
        @staticmethod
        def _get_generation_params() -> Scaled:
            return Scaled(10)

    routine = Least.build(REAL, SPEC, split="TRAIN")
    assert (routine.period, routine.export_period, routine.split) == (1, None, "TRAIN")
    assert {"MEAN_JS_DISTANCE", "CORRELATION_DISTANCE", "JS_DISTANCE/*"} < set(routine.score_names)
    assert not {"DETECTION_SCORE", "TRAIN_ON_SYNTHETIC_TEST_ON_REAL/*"} & set(routine.score_names)


def test_an_artifact_that_raises_leaves_the_others_alone():
    def broken(_: Any) -> float:
        raise ZeroDivisionError("no")

    plan = TableComparisonPlan.of(
        Artifact("BROKEN", records.Score, broken), TableComparisonScoreCollectionType.JS_DISTANCE
    )
    outcome = TableComparisonRoutine(REAL, SPEC, Scaled(50), plan).run(Gaussian(), 1, 1)
    assert [record.name for record in outcome.records] == ["JS_DISTANCE"]
    assert [(failure.callback, failure.epoch, failure.split) for failure in outcome.failures] == [
        ("BROKEN", 1, "VALIDATION")
    ]


def test_an_exported_table_is_a_copy():
    class Reusing(Gaussian):
        kept = REAL.copy()

        def generate(self, generation_params: Scaled) -> pd.DataFrame:
            return self.kept

    routine = TableComparisonRoutine(REAL, SPEC, Scaled(5), TableComparisonPlan(), export_period=1)
    (record,) = routine.run(Reusing(), 1, 1).records
    Reusing.kept.loc[:, "a"] = 0.0
    pd.testing.assert_frame_equal(record.value.frame, REAL)


@pytest.mark.parametrize(
    ("generated", "text"),
    [
        (torch.zeros(3, 2), r"Wrong.generate: returned no table\n  expected: a pandas DataFrame\n  got: Tensor"),
        (None, r"Wrong.generate: returned no table(.|\n)*got: NoneType"),
        (REAL[["a"]], "the synthetic table: differs from its specification(.|\n)*columns missing: b"),
        (REAL.astype(str), "not numeric: 'a' of dtype"),
        (REAL.iloc[:0], "the synthetic table: is empty"),
    ],
)
def test_a_synthesizer_of_something_else_is_told_so(generated, text):
    class Wrong(Gaussian):
        def generate(self, generation_params: Scaled) -> Any:
            return generated

    routine = TableComparisonRoutine(REAL, SPEC, Scaled(5))
    with pytest.raises(TableError, match=text):
        list(routine.artifacts(Wrong(), 1))
    assert [type(failure.error) for failure in routine.run(Wrong(), 1, 1).failures] == [TableError]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: TableComparisonRoutine(REAL, SPEC, Scaled(5), period=0),
            r"TableComparisonRoutine.period: is too small\n  expected: an integer of at least 1\n  got: 0",
        ),
        (
            lambda: TableComparisonRoutine(REAL, SPEC, Scaled(5), export_period=0),
            r"export_period: falls on epochs without.*\n  expected: a multiple of the period, 1\n  got: 0",
        ),
        (
            lambda: TableComparisonRoutine(REAL, SPEC, Scaled(5), period=2, export_period=3),
            r"export_period: falls on epochs without.*\n  expected: a multiple of the period, 2\n  got: 3",
        ),
        (lambda: TableComparisonRoutine.build(REAL, SPEC), "_get_generation_params: is not filled in"),
        (lambda: Scaled(0), r"Scaled.n_records: asks for no rows\n  expected: at least 1\n  got: 0"),
    ],
)
def test_a_routine_that_cannot_be_is_refused(make, text):
    with pytest.raises(ConfigurationError, match=text):
        make()


def test_a_real_table_that_differs_is_refused_when_the_routine_is_made():
    with pytest.raises(TableError, match="the real table: differs from its specification"):
        Declared.build(REAL[["a"]], SPEC)
