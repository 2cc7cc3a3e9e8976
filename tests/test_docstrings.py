"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import functorch_artifact

MODULES = [m.name for m in pkgutil.walk_packages(functorch_artifact.__path__, "functorch_artifact.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 20
