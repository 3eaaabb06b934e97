"""The activation of the theory that a torch module or function computes: found by its values, not by its name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from afli import activations as act
from afli._inputs import Array
from afli.activations import Activation
from afli.networks.modules import Elementwise, Shtanh

__all__ = ["from_torch", "same_function"]

# Both signs, from well inside any bend to where everything usual is straight; it meets none of the usual kinks.
GRID = np.concatenate([sign * np.geomspace(1.01e-3, 30.3, 120) for sign in (-1.0, 1.0)])
FLOAT32 = 1e-6  # parameters of a module may be rounded to float32; the two forms of gelu differ by 5e-4


def from_torch(phi: Any, *, name: str | None = None) -> Activation:
    """The activation that a torch module or function computes.

    Parameters
    ----------
    phi
        A module (`nn.GELU(approximate="tanh")`), a function of one tensor (`torch.tanh`, `F.mish`), a name that
        `afli.activations.get` knows, or an `Activation`, which comes back as it is.
    name
        A label, where phi is none of the activations that this library has. Default: the function's own.

    Returns
    -------
    Activation
        One of the library's own, with its parameters, if phi agrees with it on a grid to 1e-9. Otherwise phi itself in
        float64, by `afli.activations.from_callable` with torch's derivative.

    Raises
    ------
    TypeError
        If phi is none of these.
    ValueError
        If phi draws random numbers, or does not treat every unit alike, or is not a real function on the whole line.

    Examples
    --------
    >>> from torch import nn
    >>> from_torch(nn.LeakyReLU(0.2)).name
    'leaky_relu(slope=0.2)'
    >>> from_torch(nn.Hardtanh(-2, 2)).name
    'shtanh(a=2)'
    """
    if isinstance(phi, Activation):
        return phi
    if isinstance(phi, str):
        return act.get(phi)
    if not callable(phi) or isinstance(phi, type):
        raise TypeError(f"phi must be an activation, a name, a torch module or a torch function, got {phi!r}")
    label = name or _label(phi)
    if isinstance(phi, Shtanh) and isinstance(phi.a, Tensor) and bool((phi.a == phi.a.flatten()[0]).all()):
        phi = Shtanh(float(phi.a.detach().flatten()[0]))  # of as many units as there are
    if isinstance(phi, nn.Module):
        phi = copy.deepcopy(phi).cpu().double().eval()
    f = _on_numpy(phi)
    try:
        values, again = f(GRID), f(GRID)
        one_by_one = np.array([f(GRID[i : i + 1])[0] for i in (0, 100, 200)])
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"{label} must map a tensor of any shape to one of the same shape, unit by unit") from error
    if np.iscomplexobj(values) or not np.isfinite(values).all():
        raise ValueError(f"{label} must be real and finite on the whole line")
    if values.shape != GRID.shape or not np.allclose(values[[0, 100, 200]], one_by_one, rtol=1e-9, atol=1e-12):
        raise ValueError(f"{label} must act on every unit alike")
    if not np.array_equal(values, again):
        raise ValueError(f"{label} must give the same values every time: it draws random numbers")
    own = phi.activations if isinstance(phi, Elementwise) else []
    for candidate in own:
        if _agree(candidate(GRID), values, FLOAT32):
            return candidate
    for candidate in _candidates(f):
        if _agree(candidate(GRID), values, 1e-9):
            return candidate
    return act.from_callable(f, _derivative(phi), name=label)


def same_function(phi: Activation, psi: Activation) -> bool:
    """Whether two activations agree on a grid, to the rounding of float32 parameters."""
    return phi == psi or _agree(phi(GRID), psi(GRID), FLOAT32)


def _agree(a: Any, b: Any, tolerance: float) -> bool:
    return bool(np.allclose(a, b, rtol=tolerance, atol=1e-3 * tolerance))


def _label(phi: Any) -> str:
    if isinstance(phi, nn.Module):
        return repr(phi).removesuffix("()") if "\n" not in repr(phi) else type(phi).__name__
    return getattr(phi, "__name__", type(phi).__name__)


def _on_numpy(phi: Callable[[Tensor], Tensor]) -> Callable[[Array], Array]:
    def f(z: Array) -> Array:
        with torch.no_grad():
            value = phi(torch.from_numpy(np.array(z, dtype=np.float64)))
            return (value if value.is_complex() else value.double()).numpy()

    return f


def _candidates(f: Callable[[Array], Array]) -> Iterator[Activation]:
    """The library's own, with the parameters that f's values suggest."""
    for make in act.FAMILIES.values():
        if make is act.hardtanh:  # the paper's name for it is shtanh, below
            continue
        try:
            yield make()
        except TypeError:  # it has parameters without a default
            continue
    far_left, left, right = (float(f(np.array([z]))[0]) for z in (-1e6, -1.0, 1e6))
    yield act.leaky_relu(-left)
    if -1e6 < far_left < 0:
        yield act.elu(-far_left)
        if 0 < right < 1e6:
            yield act.shtanh(right)
            yield act.hardtanh(far_left, right)
    if 0 < (lost := 32.0 - float(f(np.array([32.0]))[0])) < 16:  # a power of 2, so that little is rounded
        yield act.softshrink(lost)


def _derivative(phi: Callable[[Tensor], Tensor]) -> Callable[[Array], Array] | None:
    """torch's derivative as a function of an array; None if phi has none."""
    try:
        _slope(phi, torch.zeros(1, dtype=torch.float64))
    except RuntimeError:
        return None
    return lambda z: _slope(phi, torch.from_numpy(np.array(z, dtype=np.float64))).numpy()


def _slope(phi: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """phi' by autograd."""
    with torch.enable_grad():
        z = z.detach().clone().requires_grad_()
        value = phi(z.clone())
        if not value.requires_grad:
            return torch.zeros_like(z)
        (slope,) = torch.autograd.grad(value.sum(), z, allow_unused=True)
    return torch.zeros_like(z) if slope is None else slope.detach()
