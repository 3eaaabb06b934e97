"""The infinitely wide network and its training: the kernels of one network, and regression with them.

At infinite width the logits of a random network are a Gaussian process whose covariance is the NNGP kernel (Lee et al.
2018), and gradient descent on squared error moves them as kernel regression with the tangent kernel does (Jacot,
Gabriel, Hongler 2018). For inputs on the sphere of normalisation `sphere` (see `afli.data`) every layer starts at the
fixed point q*, so both kernels are functions of one number, the cosine of two inputs: the correlation map R of Section
2.1 and its slope R' say all.

Two things are done with care. Layers are iterated in the distance 1 - rho, not in rho: near rho = 1 the slope falls
like its square root for activations with kinks, so that rounding of rho would be seen in the tangent kernel. And both
maps are tabulated in the angle psi = arccos(rho), where they are smooth, kinks or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import overload

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from afli._inputs import Array, array, integer, like, quiet_underflow, real, unit_rows, word
from afli.correlation import divided, series_through
from afli.errors import ConvergenceError
from afli.meanfield import MeanField, require_network
from afli.regression import KernelRegression, after_steps, leave_one_out, stable_rate

__all__ = [
    "PARAMETRISATIONS",
    "KernelFunction",
    "KernelRegression",
    "after_steps",
    "cosines",
    "leave_one_out",
    "nngp",
    "nngp_function",
    "ntk",
    "ntk_function",
    "stable_rate",
]

PARAMETRISATIONS = ("standard", "ntk")


# --- The two kernels ---


@overload
def nngp(net: MeanField, rho: float, depth: int) -> float: ...
@overload
def nngp(net: MeanField, rho: ArrayLike, depth: int) -> NDArray[np.float64]: ...
def nngp(net: MeanField, rho: ArrayLike, depth: int) -> float | NDArray[np.float64]:
    """Covariance of a logit on two inputs, over random networks of infinite width: the NNGP kernel.

    Parameters
    ----------
    net : MeanField
        The network; on the edge of chaos or off it.
    rho : array_like
        Cosine of the two inputs, in [-1, 1], any shape. The inputs are scaled so that layer 1 has variance `net.q`.
    depth : int
        Hidden layers, at least 1, and as many as take about ten seconds, or 100: for one cosine some 7 * 10^4 of tanh
        and 4 * 10^4 of hard tanh, and ten times fewer for 3000. The head is drawn as every other layer.

    Returns
    -------
    float or ndarray
        Of the shape of `rho`; `net.q` at `rho = 1`. Relative accuracy 1e-9, of `net.q` where the kernel is small.

    Notes
    -----
    With K the kernel after `depth` layers: eq. (2) at its fixed point q*, K = q* rho_{L+1}, where rho_1 =
    ((q* - sigma_b2) rho + sigma_b2) / q* and rho_{l+1} = R(rho_l).
    """
    net, rho, depth = _checked(net, rho, depth)
    _require_affordable(net, depth, rho.size)
    return like(_nngp(net, np.arccos(rho), depth))


@overload
def ntk(
    net: MeanField, rho: float, depth: int, *, width: int, in_features: int, parametrisation: str = ...
) -> float: ...
@overload
def ntk(
    net: MeanField, rho: ArrayLike, depth: int, *, width: int, in_features: int, parametrisation: str = ...
) -> NDArray[np.float64]: ...
def ntk(
    net: MeanField, rho: ArrayLike, depth: int, *, width: int, in_features: int, parametrisation: str = "standard"
) -> float | NDArray[np.float64]:
    """Tangent kernel of a logit: the sum over all parameters of the product of its derivatives at two inputs.

    Parameters
    ----------
    net, rho, depth
        As for `nngp`.
    width, in_features : int
        Units of every hidden layer, and features of an input, at least 1. The values are those of the limit of large
        width; in the standard parametrisation the kernel grows with the width, and this is the width it is stated for.
    parametrisation : {"standard", "ntk"}
        "standard": the parameters are the weights and biases themselves, as in `torch.nn.Linear`. "ntk": they are
        standard normal, multiplied by sigma_w / sqrt(fan-in) and sigma_b in the network; `width` and `in_features`
        then have no effect.

    Returns
    -------
    float or ndarray
        Of the shape of `rho`. Relative accuracy 1e-9, of the value at `rho = 1` where the kernel changes sign.

    Raises
    ------
    ConvergenceError
        Where the kernel leaves the range of a float, as in deep chaos.

    Notes
    -----
    With A_0 the mean square of an input's feature times rho and A_l = E phi(U1) phi(U2) at layer l: Theta_1 =
    in_features A_0 + 1, Theta_{l+1} = R'(rho_l) Theta_l + width A_l + 1, and the kernel is Theta_{L+1}. In the NTK
    parametrisation sigma_w2 A_l + sigma_b2 is added instead.
    """
    net, rho, depth = _checked(net, rho, depth)
    _require_affordable(net, depth, rho.size)
    return like(_ntk(net, np.arccos(rho), depth, *_layer_gain(net, width, in_features, parametrisation)))


@quiet_underflow
def cosines(x: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
    """Cosines of the rows of `x` with the rows of `y`, or with each other: all that the kernels see of the inputs.

    Parameters
    ----------
    x, y : array_like
        Shapes (n, features) and (m, features); no row zero. Without `y` the diagonal is 1 exactly.

    Returns
    -------
    ndarray
        Shape (n, m), in [-1, 1].
    """
    first = unit_rows("x", array("x", x, 2, "(rows, features)"))
    if y is None:
        gram = np.clip(first @ first.T, -1.0, 1.0)
        np.fill_diagonal(gram, 1.0)
        return gram
    second = unit_rows("y", array("y", y, 2, "(rows, features)"))
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"x and y must have as many features, got {first.shape[1]} and {second.shape[1]}")
    product = first @ second.T
    return np.clip(product, -1.0, 1.0, out=product)


def _checked(net: MeanField, rho: ArrayLike, depth: int) -> tuple[MeanField, Array, int]:
    return require_network(net), real("rho", rho, low=-1.0, high=1.0), integer("depth", depth, low=1)


# Layers times terms of the layer map times cosines, with 320 for what a layer costs beside them: about ten seconds.
_MOST_WORK = 1.5e9


def _require_affordable(net: MeanField, depth: int, cosines: int) -> None:
    most = max(100, int(_MOST_WORK / (_layer_map(net).terms * (320 + cosines))))
    if depth > most:
        raise ValueError(f"depth must be at most {most} for {cosines} cosines of {net!r}, for time, got {depth}")


def _layer_gain(net: MeanField, width: int, in_features: int, parametrisation: str) -> tuple[float, float, float]:
    """What a layer adds to the tangent kernel: the factor of A in the first layer, in the others, and the constant."""
    width, in_features = integer("width", width, low=1), integer("in_features", in_features, low=1)
    if word("parametrisation", parametrisation, PARAMETRISATIONS) == "ntk":
        return net.sigma_w2, net.sigma_w2, net.sigma_b2
    return float(in_features), float(width), 1.0


# --- Layer by layer, in the distance from rho = 1 ---


class _LayerMap:
    """One layer of a network as two Chebyshev series in the angle psi = arccos(rho) on [0, pi].

    The first is (1 - R(rho)) / (1 - rho), the second how far R' is below chi_1, over psi: both are smooth, and no
    accuracy is lost near rho = 1.
    """

    def __init__(self, net: MeanField) -> None:
        self.chi1 = net.chi1
        degree = 32
        while True:
            kept, slope = _series_of_layer(net, degree)
            # Rounding of the samples leaves up to 3e-16 times the degree in every coefficient.
            if all(np.abs(c[-5:]).max() <= 1e-15 * degree * np.abs(c).max() for c in (kept, slope)):
                break
            if degree >= _MAX_LAYER_DEGREE:
                raise ConvergenceError(
                    f"the correlation map of {net!r} needs more than {degree} Chebyshev terms: kinks too close for q*"
                )
            degree *= 2
        # (2 psi / pi) times the divided series is chi_1 - R'; exactly 0 at psi = 0.
        fall = np.append(divided(slope), [0.0]) if len(slope) > 2 else np.zeros_like(slope)
        self._series = _trimmed(np.stack([kept, 2 / np.pi * fall], axis=1))
        self.terms = len(self._series)

    def __call__(self, psi: Array) -> tuple[Array, Array]:
        """1 - R(cos psi), and R'(cos psi); psi in [0, pi]."""
        kept, fall = chebyshev.chebval(2 * psi / np.pi - 1, self._series)
        return np.clip(_distance(psi) * kept, 0.0, 2.0), self.chi1 - psi * fall


def _distance(psi: Array) -> Array:
    """1 - cos(psi), relatively accurate."""
    return np.asarray(2 * np.sin(0.5 * psi) ** 2)


def _angle(distance: Array) -> Array:
    """The psi in [0, pi] of `_distance`."""
    return np.asarray(2 * np.arcsin(np.sqrt(np.clip(0.5 * distance, 0.0, 1.0))))


_MAX_LAYER_DEGREE = 2048  # hard tanh at sigma_b2 = 100 a^2 needs 512


def _series_of_layer(net: MeanField, degree: int) -> tuple[Array, Array]:
    psi = np.pi * np.sin(0.5 * np.pi * np.arange(degree, -1, -1) / degree) ** 2  # from pi down to 0
    rho = np.cos(psi)
    distance = 1 - rho
    kept = np.full(degree + 1, net.chi1)  # the limit at rho = 1
    kept[:-1] = 1 - net.correlation_gap(rho[:-1]) / distance[:-1]
    return series_through(kept), series_through(net.correlation_slope(rho))


def _trimmed(series: Array) -> Array:
    """Without the last coefficients, where they are rounding; series: shape (terms, n)."""
    counts = (np.abs(series) > 1e-16 * np.abs(series).max(axis=0)).any(axis=1)
    return series[: 1 + int(np.flatnonzero(counts).max(initial=0))]


_layer_map = lru_cache(maxsize=128)(_LayerMap)


def _layers(net: MeanField, psi: Array, depth: int) -> Iterator[tuple[Array, Array, Array]]:
    """For layers l = 1, ..., depth: R'(rho_l), the sign of rho_{l+1}, and the distance d with |rho_{l+1}| = 1 - d.

    psi: the angle of the inputs. Where R(-rho) = R(rho) or -R(rho) the sign is kept apart, so that rho = -1 is met as
    exactly as rho = 1; elsewhere it is 1 and d = 1 - rho_{l+1} runs to 2.
    """
    layer = _layer_map(net)
    ends = float(net.correlation_map(-1.0))
    even, odd = ends > 1 - _PARITY, net.sigma_b2 == 0 and ends < -1 + _PARITY  # a bias, however small, is no odd part
    if net.sigma_b2 > 0:  # to layer 1: 1 - rho_1 = (1 - rho_0) (q* - sigma_b2) / q*
        psi = _angle(_distance(psi) * net.input_mean_square * net.sigma_w2 / net.q)
    sign = np.ones_like(psi)
    if even or odd:
        sign, psi = np.where(psi > 0.5 * np.pi, -1.0, 1.0), np.minimum(psi, np.pi - psi)
    for _ in range(depth):
        distance, slope = layer(psi)
        if even:
            slope, sign = slope * sign, np.ones_like(sign)
        yield slope, sign, distance
        psi = _angle(distance)


_PARITY = 1e-12  # accuracy of the correlation map: |R(-1)| = 1 up to this means that phi is even, or odd without bias


def _nngp(net: MeanField, psi: Array, depth: int) -> Array:
    *_, (_, sign, distance) = _layers(net, psi, depth)
    return np.asarray(net.q * sign * (1 - distance))


def _ntk(net: MeanField, psi: Array, depth: int, first: float, other: float, constant: float) -> Array:
    square = net.input_mean_square
    theta = first * square * np.cos(psi) + constant
    with np.errstate(over="ignore", invalid="ignore"):
        for slope, sign, distance in _layers(net, psi, depth):
            theta = slope * theta + other * sign * (square - net.q / net.sigma_w2 * distance) + constant
    if not np.isfinite(theta).all():
        raise ConvergenceError(f"the tangent kernel of {net!r} leaves the range of a float within {depth} layers")
    return np.asarray(theta)


# --- Composed once, evaluated on Gram matrices ---


class KernelFunction:
    """A kernel as one function of the cosine: made once, then a look-up, whatever the depth.

    Make one with `nngp_function` or `ntk_function`. Inside, the kernel is a cubic on each of `cells` equal pieces of
    the square root of the angle, which is finest where deep kernels turn most quickly.

    Attributes
    ----------
    error : float
        The largest deviation from the kernel computed layer by layer, found at points between the nodes; relative to
        the kernel, or to its median over the angle where that is larger.
    at_one : float
        The value at `rho = 1`, exact.
    """

    def __init__(self, kernel: Callable[[Array], Array], name: str) -> None:
        self.at_one = float(kernel(np.zeros(1))[0])
        series = _composed_series(kernel, name)
        # Between the nodes of every table below: an irrational step, and more points near psi = 0.
        probe = np.concatenate([np.mod(np.arange(1, 400) * 0.6180339887498949, 1.0), np.geomspace(1e-6, 1e-2, 60)])
        rho = np.cos(np.pi * probe**2)
        exact = kernel(np.arccos(rho))
        scale = np.maximum(np.abs(exact), np.median(np.abs(exact)))
        for cells in (2**k for k in range(10, 18)):
            self._table = _cubics(series, cells)
            self._table[0, 0] = self.at_one
            self.error = float(np.max(np.abs(self(rho) - exact) / scale))
            if self.error <= 1e-10:
                return
        raise ConvergenceError(
            f"{name} is known to {self.error:.1g} only by the largest table: evaluate it layer by layer"
        )

    def __call__(self, rho: ArrayLike, *, out: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """The kernel at cosines.

        Parameters
        ----------
        rho : array_like
            In [-1, 1], any shape, float32 or float64. See `cosines`.
        out : ndarray, optional
            C-contiguous float64 of the shape of `rho`, where the values go; it may be `rho` itself, but not otherwise
            overlap it. Beside it about 2 MB are used, whatever the size.

        Returns
        -------
        ndarray
            `out`, or a new array of the shape of `rho`.

        Raises
        ------
        TypeError, ValueError
            If `rho` or `out` is not as said.
        """
        if np.ma.is_masked(rho):
            raise ValueError("rho must not have masked entries")
        rho = np.asarray(rho, order="C")
        if rho.dtype.kind not in "iuf":
            raise TypeError(f"rho must be an array of real numbers, got dtype {rho.dtype}")
        values = np.empty(rho.shape) if out is None else out
        if not isinstance(values, np.ndarray) or np.ma.isMaskedArray(values) or values.dtype != np.float64:
            raise TypeError(
                f"out must be a float64 array, got a {type(values).__name__} {getattr(values, 'dtype', '')}"
            )
        if values.shape != rho.shape or not (values.flags.c_contiguous and values.flags.writeable):
            raise ValueError(f"out must be writeable, C-contiguous and of shape {rho.shape}, got shape {values.shape}")
        same = values.ctypes.data == rho.ctypes.data and values.dtype == rho.dtype
        if np.may_share_memory(values, rho) and not same:
            raise ValueError("out must be rho itself or not overlap it")
        # Before the first block is written: rho may be out, and is whole if this raises.
        least, largest = rho.min(initial=1.0), rho.max(initial=-1.0)
        if not (least >= -1.0 and largest <= 1.0):
            raise ValueError(f"rho must be in [-1, 1], got values from {least!r} to {largest!r}")
        source, target = rho.reshape(-1), values.reshape(-1)
        for start in range(0, len(source), _BLOCK):
            block = slice(start, start + _BLOCK)
            target[block] = self._at(source[block].astype(np.float64))
        return values

    def _at(self, rho: Array) -> Array:
        cells = self._table.shape[1]
        at = np.arccos(rho, out=rho)
        np.sqrt(at, out=at)
        at *= cells / np.sqrt(np.pi)
        cell = at.astype(np.intp)
        np.minimum(cell, cells - 1, out=cell)
        at -= cell
        c0, c1, c2, c3 = self._table
        value = c3.take(cell)
        for c in (c2, c1, c0):
            value *= at
            value += c.take(cell)
        return value


_BLOCK = 1 << 15  # entries at once: the work arrays stay in the cache
_MAX_COMPOSED_DEGREE = 4096
_USUAL_NODES = 2000  # at which a function is composed and checked; the deepest need five times as many


def nngp_function(net: MeanField, depth: int) -> KernelFunction:
    """`nngp` as a function of the cosine, for Gram matrices.

    Raises ConvergenceError where no table reaches 1e-10, as in deep chaos; TypeError or ValueError for bad input, such
    as a depth that takes long: as for `nngp` at 2000 cosines.
    """
    net, _, depth = _checked(net, 1.0, depth)
    _require_affordable(net, depth, _USUAL_NODES)
    return KernelFunction(lambda psi: _nngp(net, psi, depth), f"the NNGP kernel of {net!r} at depth {depth}")


def ntk_function(
    net: MeanField, depth: int, *, width: int, in_features: int, parametrisation: str = "standard"
) -> KernelFunction:
    """`ntk` as a function of the cosine, for Gram matrices. Errors as for `nngp_function`."""
    net, _, depth = _checked(net, 1.0, depth)
    gain = _layer_gain(net, width, in_features, parametrisation)
    _require_affordable(net, depth, _USUAL_NODES)
    return KernelFunction(lambda psi: _ntk(net, psi, depth, *gain), f"the tangent kernel of {net!r} at depth {depth}")


def _composed_series(kernel: Callable[[Array], Array], name: str) -> Array:
    """Chebyshev series of the kernel in t = sqrt(psi / pi) on [0, 1]."""
    degree = 64
    while True:
        t = np.sin(0.5 * np.pi * np.arange(degree, -1, -1) / degree) ** 2
        series = series_through(kernel(np.pi * t**2))
        tail = np.abs(series[-8:]).max() / np.abs(series).max()
        if tail <= 1e-13:
            return _trimmed(series[:, None])[:, 0]
        if degree >= _MAX_COMPOSED_DEGREE:
            raise ConvergenceError(f"{name} turns too quickly near rho = 1 for a table: evaluate it layer by layer")
        degree *= 2


def _cubics(series: Array, cells: int) -> Array:
    """Coefficients (4, cells) of the cubics through four equidistant values on each cell, in its own variable 0..1."""
    values = chebyshev.chebval(2 * np.arange(3 * cells + 1) / (3 * cells) - 1, series)
    y0, y1, y2, y3 = values[:-1:3], values[1::3], values[2::3], values[3::3]
    return np.array(
        [y0, (-11 * y0 + 18 * y1 - 9 * y2 + 2 * y3) / 2, 9 * (2 * y0 - 5 * y1 + 4 * y2 - y3) / 2,
         9 * (-y0 + 3 * y1 - 3 * y2 + y3) / 2]
    )  # fmt: skip
