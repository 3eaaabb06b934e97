"""Regression with a Gram matrix: ridges, leave-one-out, and gradient descent on squared error step by step.

What the kernels of `afli.kernels` are for. The linear algebra is scipy's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afli._inputs import Array, real, scalar
from afli.errors import ConvergenceError

__all__ = ["KernelRegression", "after_steps", "leave_one_out", "stable_rate"]


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
        The largest eigenvalue comes from the Lanczos iteration.
    """
    from scipy.sparse.linalg import eigsh

    gram = _gram("theta", theta)
    if len(gram) < 3:
        return 2 * len(gram) / float(np.linalg.eigvalsh(gram)[-1])
    start = np.random.default_rng(0).standard_normal(len(gram))  # any start will do; this one is repeatable
    return 2 * len(gram) / float(eigsh(gram, k=1, which="LA", v0=start, return_eigenvectors=False)[0])


def after_steps(
    theta: ArrayLike, cross: ArrayLike, targets: ArrayLike, *, rate: float, steps: ArrayLike
) -> NDArray[np.float64]:
    """Predictions after so many steps of full-batch gradient descent on squared error, from outputs 0.

    Parameters
    ----------
    theta : array_like
        Gram matrix of the tangent kernel on the training inputs, shape (N, N).
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
        Shape ``steps.shape + (M, outputs)``: the mean prediction over random networks, whose outputs start at mean 0.
        The residual on the training inputs is (I - rate theta / N)^s targets after s steps.
    """
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
        Both (N, outputs). A prediction elsewhere is the kernel to the training inputs times `weights`. By one Cholesky
        factor: with alpha = (gram + ridge)^-1 targets, the left-out residual is alpha_i / [(gram + ridge)^-1]_ii. For
        many ridges of one matrix `KernelRegression` is cheaper.

    Raises
    ------
    ConvergenceError
        If gram + ridge is not positive definite in floating point.
    """
    from scipy.linalg import lapack

    matrix, ridge = _gram("gram", gram).copy(), scalar("ridge", ridge, low=0.0, open_low=True)
    values = _targets(targets, len(matrix))
    matrix[np.diag_indices_from(matrix)] += ridge
    # Upper triangle of the C-ordered matrix = lower triangle of its transpose, which is itself: no copy.
    factor, failed = lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    if failed:
        raise ConvergenceError(f"the Gram matrix with ridge {ridge:g} is not positive definite in floating point")
    weights, _ = lapack.dpotrs(factor, values, lower=1)
    inverse, _ = lapack.dtrtri(factor, lower=1, overwrite_c=1)
    inverse_diagonal = np.einsum("ij,ij->j", inverse, inverse)
    return weights, values - weights / inverse_diagonal[:, None]


class KernelRegression:
    """Regression with one Gram matrix: its eigendecomposition answers every ridge and every number of steps.

    Parameters
    ----------
    gram : array_like
        Kernel on the N training inputs, symmetric positive semidefinite, shape (N, N).

    Attributes
    ----------
    values, vectors : ndarray
        Eigenvalues in increasing order (rounding below 0 set to 0), and eigenvectors as columns.
    """

    def __init__(self, gram: ArrayLike) -> None:
        from scipy.linalg import eigh

        values, self.vectors = eigh(_gram("gram", gram), driver="evr")
        if values[0] < -1e-8 * max(values[-1], 0.0) or values[-1] <= 0:
            raise ValueError(f"gram must be positive semidefinite, got an eigenvalue {values[0]:g}")
        self.values = np.maximum(values, 0.0)

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
        coefficients, squares = self.vectors.T @ targets, self.vectors**2
        found = np.empty((len(ridges), *targets.shape))
        for out, ridge in zip(found, ridges, strict=True):
            inverse = 1 / (self.values + ridge)
            out[:] = targets - (self.vectors * inverse) @ coefficients / (squares @ inverse)[:, None]
        return found

    def weights(self, targets: ArrayLike, ridge: float) -> NDArray[np.float64]:
        """(gram + ridge)^-1 targets, shape (N, outputs); a prediction is the kernel to the training inputs times it."""
        targets = _targets(targets, len(self.values))
        ridge = scalar("ridge", ridge, low=0.0, open_low=True)
        return np.asarray((self.vectors / (self.values + ridge)) @ (self.vectors.T @ targets))

    def after_steps(
        self, cross: ArrayLike, targets: ArrayLike, *, rate: float, steps: ArrayLike
    ) -> NDArray[np.float64]:
        """As the function `after_steps`, for the Gram matrix of this object."""
        targets, cross = _targets(targets, len(self.values)), real("cross", cross)
        if cross.ndim != 2 or cross.shape[1] != len(self.values):
            raise ValueError(f"cross must have shape (M, {len(self.values)}), got {cross.shape}")
        rate = scalar("rate", rate, low=0.0, open_low=True)
        counts = np.asarray(steps)
        if counts.dtype.kind not in "iu" or counts.min(initial=0) < 0:
            raise ValueError(f"steps must be integers >= 0, got {steps!r}")
        step = rate * self.values / len(self.values)
        coefficients = self.vectors.T @ targets
        projected = cross @ self.vectors
        learned = [_learned(step, int(s), rate / len(self.values))[:, None] for s in counts.flat]
        found = [projected @ (shares * coefficients) for shares in learned]
        return np.array(found).reshape(*counts.shape, len(cross), targets.shape[1])


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
    if not np.allclose(gram[0], gram[:, 0], rtol=1e-6) or not np.allclose(gram[-1], gram[:, -1], rtol=1e-6):
        raise ValueError(f"{name} must be symmetric")
    return gram


def _targets(value: ArrayLike, rows: int) -> Array:
    targets = real("targets", value)
    if targets.ndim != 2 or len(targets) != rows:
        raise ValueError(f"targets must have shape ({rows}, outputs), got {targets.shape}")
    return targets
