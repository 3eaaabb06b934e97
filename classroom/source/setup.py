# Locked. Run this cell first: the checks of this notebook use it. There is nothing to change.
import numpy as np


def expect_close(got, wanted, what, hint="", rtol=1e-6):
    """Raise an AssertionError that shows both numbers, unless `got` is `wanted` to relative accuracy rtol."""
    got, wanted = np.asarray(got, dtype=float).ravel(), np.asarray(wanted, dtype=float).ravel()
    if got.size != wanted.size or not np.allclose(got, wanted, rtol=rtol, atol=1e-12):
        raise AssertionError(f"{what}: got {got.tolist()}, expected {wanted.tolist()}. {hint}")


### BEGIN HIDDEN TESTS
import json as _json  # noqa: E402
import os as _os  # noqa: E402
from contextlib import ExitStack as _ExitStack  # noqa: E402
from unittest import mock as _mock  # noqa: E402

# The numbers that this student was given: the grader passes them in where copies differ, see variant.py.
_given = _json.loads(_os.environ.get("AFLI_VARIANT") or '{"sigma_b2": 0.1, "a": 2.0, "depth": 50}')


def _without(owner, *names):
    """A context in which these parts of afli refuse to work: what a question rules out fails in the answer."""
    reason = AssertionError(f"the answer uses a part of {owner.__name__} that this question rules out")
    stack = _ExitStack()
    for name in names:
        stack.enter_context(_mock.patch.object(owner, name, side_effect=reason))
    return stack


### END HIDDEN TESTS
