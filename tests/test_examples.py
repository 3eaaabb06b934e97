"""The examples in the docstrings of what users call on their own networks run, and give what they say."""

from __future__ import annotations

import doctest
import warnings
from importlib import import_module

import matplotlib
import pytest

MODULES = ["draws", "init", "lessons", "measure", "modules", "recognise", "survey", "verdict"]


@pytest.mark.parametrize("name", ["afli.gain", *(f"afli.networks.{each}" for each in MODULES)])
def test_examples_give_what_they_say(name):
    matplotlib.use("agg")
    module = import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0
    for each in module.__all__:
        thing = getattr(module, each)
        if callable(thing) and thing.__module__ == name and each not in WITHOUT:
            assert ">>>" in (thing.__doc__ or ""), f"{each} has no example"


WITHOUT = {"Diagnosis", "Gain", "History", "Run", "Survey", "Task", "run", "same_function"}  # what functions return
