"""The fingerprint: what bits depend on, and how two differ."""

import pytest
import torch

from functorch_artifact import checkpoint
from functorch_artifact.runs.fingerprint import differences, fingerprint


def test_it_is_the_same_where_nothing_changed_and_fits_a_checkpoints_notes(tmp_path):
    found = fingerprint(torch.device("cpu"), "eager")
    assert found == fingerprint(torch.device("cpu"), "eager")
    assert checkpoint.notes(checkpoint.save(tmp_path / "x", {}, notes=found)) == found
    assert {"torch", "numpy", "optree", "python", "threads", "device", "mode"} <= set(found)


def test_a_flag_or_a_mode_that_changed_is_named():
    before = fingerprint(torch.device("cpu"), "eager")
    torch.use_deterministic_algorithms(True)
    try:
        now = fingerprint(torch.device("cpu"), "captured")
    finally:
        torch.use_deterministic_algorithms(False)
    assert differences(before, now) == ["deterministic: False, now True", "mode: eager, now captured"]


@pytest.mark.parametrize(("before", "now"), [({}, {"cuda": "13"}), ({"cuda": "13"}, {})])
def test_what_only_one_of_them_has_is_a_difference(before, now):
    assert len(differences(before, now)) == 1
