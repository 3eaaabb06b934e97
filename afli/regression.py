"""Regression with a Gram matrix: ridges, leave-one-out, and gradient descent on squared error step by step.

What the kernels of `afli.kernels` are for. The linear algebra is scipy's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afli._inputs import Array, quiet, real, scalar
from afli.errors import ConvergenceError

__all__ = ["KernelRegression", "after_steps", "leave_one_out", "stable_rate"]

_ROUNDING = 10 * np.finfo(float).eps  # of an eigenvalue, as a share of the largest: 5 were seen at N = 300


def stable_rate(theta: ArrayLike) -> float:
    """The learning rate below which full-batch gradient descent on squared error is stable: 2 N / lambda_max.

    Parameters
    ----------
    theta : array_like
        Gram matrix of the tangent kernel on the N training inputs, symmetric, shape (N, N).

    Returns
    -------
    float
        For the loss sum((f - y)^2) / (2 N), whose gradient moves the outputs f by -rate theta (f - y) / N in each step.

    Raises
    ------
    ValueError
        If theta is not symmetric, has a negative eigenvalue (seen on the diagonal, or anywhere for N <= 100), or is 0:
        then no rate is unstable.
    ConvergenceError
        If the Lanczos iteration does not converge, or the rate leaves the range of a float.
    """
    from scipy.sparse.linalg import ArpackError, eigsh

    gram = _gram("theta", theta)
    if not gram.any():
        raise ValueError("theta must not be 0: every rate is stable")
    if len(gram) <= 100:
        values = np.linalg.eigvalsh(gram)
        least, largest = float(values[0]), float(values[-1])
    else:
        start = np.random.default_rng(0).standard_normal(len(gram))  # any start will do; this one is repeatable
        try:
            largest = float(eigsh(gram, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
        except ArpackError as error:
            raise ConvergenceError(f"the largest eigenvalue of theta was not found: {error}") from error
        least = float(gram.diagonal().min())
    _finite("eigenvalues of theta", np.array([least, largest]))
    _require_semidefinite("theta", least, largest)
    return float(_finite("the stable rate", np.array(2 * len(gram) / largest)))


def after_steps(
    theta: ArrayLike, cross: ArrayLike, targets: ArrayLike, *, rate: float, steps: ArrayLike
) -> NDArray[np.float64]:
    """As `KernelRegression.after_steps`, for the Gram matrix theta (N, N) of the tangent kernel."""
    return KernelRegression(theta).after_steps(cross, targets, rate=rate, steps=steps)


def leave_one_out(gram: ArrayLike, targets: ArrayLike, ridge: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ridge regression at one ridge, and what it would say of every training input without having seen it.

    Parameters
    ----------
    gram : array_like
        Positive semidefinite, shape (N, N).
    targets : array_like
        Shape (N, outputs).
    ridge : float
        Added to the diagonal, > 0.

    Returns
    -------
    weights, predictions : ndarray
        Both (N, outputs). A prediction elsewhere is the kernel to the training inputs times `weights`.

    Raises
    ------
    ConvergenceError
        If weights or predictions leave the range of a float.
    ValueError
        If an entry is larger than its row's and its column's diagonal allow. A matrix that is not positive semidefinite
        is found out for certain only where gram + ridge is not positive definite.

    Notes
    -----
    By one Cholesky factor: with alpha = (gram + ridge)^-1 targets, the left-out residual is
    alpha_i / [(gram + ridge)^-1]_ii. For many ridges of one matrix `KernelRegression` is cheaper. It takes over where
    gram + ridge is not positive definite in floats, or the ridge is within the rounding of the largest eigenvalue.
    """
    from scipy.linalg import lapack

    matrix, ridge = _gram("gram", gram).copy(), scalar("ridge", ridge, low=0.0, open_low=True)
    values = _targets(targets, len(matrix))
    rounding = ridge < _ROUNDING * np.trace(matrix)  # the trace is no less than the largest eigenvalue
    matrix[np.diag_indices_from(matrix)] += ridge
    # Upper triangle of the C-ordered matrix = lower triangle of its transpose, which is itself: no copy.
    factor, failed = (None, True) if rounding else lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    if failed:
        spectral = KernelRegression(gram)
        return spectral.weights(values, ridge), spectral.leave_one_out(values, ridge)[0]
    weights, _ = lapack.dpotrs(factor, values, lower=1)
    inverse, _ = lapack.dtrtri(factor, lower=1, overwrite_c=1)
    inverse_diagonal = np.einsum("ij,ij->j", inverse, inverse)
    predictions = values - weights / inverse_diagonal[:, None]
    return _finite("weights", weights), _finite("predictions", predictions)


class KernelRegression:
    """Regression with one Gram matrix: its eigendecomposition answers every ridge and every number of steps.

    Parameters
    ----------
    gram : array_like
        Kernel on the N training inputs, symmetric positive semidefinite, shape (N, N).

    Attributes
    ----------
    values, vectors : ndarray
        Eigenvalues in increasing order, and eigenvectors as columns. Eigenvalues within their rounding of 0 are 0, so
        that a ridge of whatever size decides where the matrix is singular.
    """

    def __init__(self, gram: ArrayLike) -> None:
        from scipy.linalg import eigh

        values, self.vectors = eigh(_gram("gram", gram), driver="evr")
        _finite("eigenvalues of gram", values)
        _require_semidefinite("gram", values[0], values[-1])
        self.values = np.where(values > _ROUNDING * values[-1], values, 0.0)

    def leave_one_out(self, targets: ArrayLike, ridges: ArrayLike) -> NDArray[np.float64]:
        """What ridge regression says of every training input without having seen it.

        Parameters
        ----------
        targets : array_like
            Shape (N, outputs).
        ridges : array_like
            Each > 0, shape (ridges,).

        Returns
        -------
        ndarray
            Shape (ridges, N, outputs).
        """
        targets = _targets(targets, len(self.values))
        ridges = np.atleast_1d(real("ridges", ridges, low=0.0, open_low=True))
        if ridges.ndim > 1:
            raise ValueError(f"ridges must be numbers in a row, got shape {ridges.shape}")
        coefficients, squares = self.vectors.T @ targets, self.vectors**2
        found = np.empty((len(ridges), *targets.shape))
        for out, ridge in zip(found, ridges, strict=True):
            inverse = ridge / (self.values + ridge)  # times ridge, which drops out
            out[:] = targets - (self.vectors * inverse) @ coefficients / (squares @ inverse)[:, None]
        return _finite("predictions", found)

    @quiet
    def weights(self, targets: ArrayLike, ridge: float) -> NDArray[np.float64]:
        """(gram + ridge)^-1 targets, shape (N, outputs); a prediction is the kernel to the training inputs times it."""
        targets = _targets(targets, len(self.values))
        ridge = scalar("ridge", ridge, low=0.0, open_low=True)
        return _finite("weights", (self.vectors / (self.values + ridge)) @ (self.vectors.T @ targets))

    @quiet
    def after_steps(
        self, cross: ArrayLike, targets: ArrayLike, *, rate: float, steps: ArrayLike
    ) -> NDArray[np.float64]:
        """Predictions after so many steps of full-batch gradient descent on squared error, from outputs 0.

        Parameters
        ----------
        cross : array_like
            The kernel between the M inputs to predict and the training inputs, shape (M, N).
        targets : array_like
            Shape (N, outputs).
        rate : float
            Learning rate > 0. Above `stable_rate` the predictions grow without bound, as gradient descent does.
        steps : array_like of int
            Numbers of steps >= 0.

        Returns
        -------
        ndarray
            Shape `steps.shape + (M, outputs)`: the mean prediction over random networks, whose outputs start at mean
            0. The residual on the training inputs is (I - rate gram / N)^s targets after s steps.

        Raises
        ------
        ConvergenceError
            If predictions leave the range of a float, as above the stable rate after many steps.
        """
        targets, cross = _targets(targets, len(self.values)), real("cross", cross)
        if cross.ndim != 2 or cross.shape[1] != len(self.values):
            raise ValueError(f"cross must have shape (M, {len(self.values)}), got {cross.shape}")
        rate = scalar("rate", rate, low=0.0, open_low=True)
        counts = np.asarray(steps)
        if counts.size and (counts.dtype.kind not in "iu" or counts.min() < 0):
            raise ValueError(f"steps must be integers >= 0, got {steps!r}")
        step = rate * self.values / len(self.values)
        coefficients = self.vectors.T @ targets
        projected = cross @ self.vectors
        learned = [_learned(step, int(s), rate / len(self.values))[:, None] for s in counts.flat]
        found = np.array([projected @ (shares * coefficients) for shares in learned])
        name = f"predictions at rate={rate:g}, stable below {2 * len(step) / self.values[-1]:g}"
        return _finite(name, found).reshape(*counts.shape, len(cross), targets.shape[1])


def _learned(step: Array, steps: int, limit: float) -> Array:
    """[1 - (1 - step)^steps] / eigenvalue, with step = limit * eigenvalue; steps * limit at eigenvalue 0."""
    small = step < 1e-8  # there the series is exact to rounding: steps (1 - (steps - 1) step / 2)
    done = np.where(step < 1, -np.expm1(steps * np.log1p(-np.minimum(step, 1 - 1e-16))), 1 - (1 - step) ** steps)
    return limit * np.where(small & (steps * step < 1e-8), float(steps), done / np.where(step > 0, step, 1.0))


def _gram(name: str, value: ArrayLike) -> Array:
    """A symmetric matrix of finite numbers."""
    gram = real(name, value)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.size == 0:
        raise ValueError(f"{name} must be a square matrix, got shape {gram.shape}")
    slack = 1e-8 * max(gram.max(), -gram.min())  # of a matrix in float32, whose rounding is 6e-8
    size = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    for i in range(0, len(gram), 512):  # row blocks, to need no second matrix
        row, column = gram[i : i + 512], gram[:, i : i + 512].T
        beyond = np.abs(row) > (1 + 1e-6) * np.outer(size[i : i + 512], size) + slack
        if beyond.any():
            j, k = np.argwhere(beyond)[0]
            raise ValueError(
                f"{name} must be positive semidefinite, got {row[j, k]:g} at ({i + j}, {k}), where the diagonal has "
                f"{gram[i + j, i + j]:g} and {gram[k, k]:g}"
            )
        if not np.allclose(row, column, rtol=1e-6, atol=slack):
            j, k = np.argwhere(~np.isclose(row, column, rtol=1e-6, atol=slack))[0]
            raise ValueError(
                f"{name} must be symmetric, got {row[j, k]:g} at ({i + j}, {k}) and {column[j, k]:g} across"
            )
    return gram


def _require_semidefinite(name: str, least: float, largest: float) -> None:
    if least < -1e-8 * max(largest, 0.0) or largest <= 0:
        raise ValueError(f"{name} must be positive semidefinite and not 0, got an eigenvalue {least:g}")


def _finite(name: str, values: Array) -> Array:
    if not np.isfinite(values).all():
        raise ConvergenceError(f"{name}: beyond the range of a float")
    return values


def _targets(value: ArrayLike, rows: int) -> Array:
    targets = real("targets", value)
    if targets.ndim != 2 or len(targets) != rows:
        raise ValueError(f"targets must have shape ({rows}, outputs), got {targets.shape}")
    return targets
