# Locked. Run this cell first: the checks of this notebook use it. There is nothing to change.
import numpy as np


def _numbers(value):
    """All numbers of an answer in one array of floats: of an array, a tensor with its gradient, a list of these."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "__next__"):
        value = list(value)
    if isinstance(value, (list, tuple)):
        return np.concatenate([np.empty(0), *map(_numbers, value)])
    array = np.asarray(value)
    if np.iscomplexobj(array) and np.all(np.abs(array.imag) <= 1e-12 * np.abs(array)):
        array = array.real
    return np.asarray(array, dtype=float).ravel()


def _number(value):
    """The one number of an answer; the array of one number that a root finder returns is one too."""
    found = _numbers(value)
    if found.size != 1:
        raise AssertionError(f"one number is expected here, got {value!r}")
    return float(found[0])


def expect_close(got, wanted, what, hint="", rtol=1e-6):
    """Raise an AssertionError that shows both numbers, unless `got` is `wanted` to relative accuracy rtol."""
    got, wanted = _numbers(got), _numbers(wanted)
    if got.size != wanted.size or not np.allclose(got, wanted, rtol=rtol, atol=1e-12):
        if got.size == wanted.size and np.allclose(got, wanted, rtol=0.01):
            hint += " If this is a simulation, or an integral across a kink, it has too few digits."
        raise AssertionError(f"{what}: got {got.tolist()}, expected {wanted.tolist()}. {hint}")


### BEGIN HIDDEN TESTS
if not __debug__:
    raise RuntimeError("Python runs with -O here: asserts, and with them the tests, would not count")

import inspect as _inspect  # noqa: E402
import json as _json  # noqa: E402
import os as _os  # noqa: E402
from contextlib import ExitStack as _ExitStack  # noqa: E402
from unittest import mock as _mock  # noqa: E402

# The numbers that this student was given: the grader passes them in where copies differ, see variant.py.
_given = _json.loads(_os.environ.get("AFLI_VARIANT") or "THE COMMON NUMBERS")


def _without(owner, *names):
    """A context in which these parts of afli refuse to work: what a question rules out fails in the answer."""
    reason = AssertionError(f"the answer uses a part of {owner.__name__} that this question rules out")
    stack = _ExitStack()
    for name in names:
        stack.enter_context(_mock.patch.object(owner, name, side_effect=reason))
    return stack


def _names_of(function):
    """The dictionary of the names that a student's function sees."""
    return getattr(_inspect.unwrap(function), "__globals__", globals())


### END HIDDEN TESTS
