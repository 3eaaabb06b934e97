"""The examples in the docstrings of what users call on their own networks run, and give what they say."""

from __future__ import annotations

import doctest
import re
import warnings
from importlib import import_module
from pathlib import Path

import matplotlib
import pytest
import torch

from afli import networks

MODULES = [
    *("draws", "elementwise", "ensemble", "init", "lessons", "measure", "modules", "recognise", "survey", "tangent"),
    "verdict",
]


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


# What functions take or return, and what only the library itself calls.
WITHOUT = {
    "Diagnosis",
    "Formula",
    "Gain",
    "History",
    "Member",
    "Run",
    "Survey",
    "Task",
    "Tensors",
    "run",
    "same_function",
}


def test_every_public_name_of_the_networks_is_looked_at():
    public = {
        name
        for module in (networks.ensemble, networks.init, networks.modules, networks.probe)
        for name in module.__all__
        if callable(getattr(module, name))
    }
    looked_at = {name for each in MODULES for name in import_module(f"afli.networks.{each}").__all__}
    assert public <= looked_at


def test_the_code_of_the_readme_runs_as_it_stands():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert any("diagnose" in block for block in blocks)
    torch.manual_seed(0)
    for block in blocks:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            exec(block, {})
