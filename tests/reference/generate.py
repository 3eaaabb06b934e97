"""Recompute the records of oracle.json with mpmath, by routes that share nothing with afli, and compare.

    python tests/reference/generate.py moments eoc bounds     # whole kinds
    python tests/reference/generate.py corr --act Shtanh --stride 20
    python tests/reference/generate.py corr --act tanh --write tanh.json

Integrals: composite Gauss-Legendre, cut at the kinks, in one dimension; two nested ones for E f(U1) g(U2). Roots: the
secant. Depths: closed kernels (erf, sin, ReLU) or a Chebyshev table of R. Bounds: the Lambert function, the secant.
Every value is computed to about 25 digits; printed is the number of digits that agree with the file. A second is enough
for most records; a correlation takes 2 to 60 s, a depth without closed kernel several minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mpmath import mp, mpf

mp.dps = 30
Z_MAX = mpf(11)  # P(|Z| > 11) = 4e-28
ORDER = 24
DENSITY_AT_0 = 1 / mp.sqrt(2 * mp.pi)
HERE = Path(__file__).parent
Real = Any  # an mpf
Record = dict[str, Any]


class Phi(NamedTuple):
    """A function, its derivative, its kinks, and the distance of its poles from the real line (at 0)."""

    f: Callable[[Real], Real]
    df: Callable[[Real], Real]
    kinks: tuple[Real, ...] = ()
    pole: float = 1e9


def tail(a: int, outside: Callable[[Real], Real], slope: Callable[[Real], Real], kinks: tuple[int, ...] = ()) -> Phi:
    """z on [-a, a], sign(z) outside(|z| - a) beyond."""
    return Phi(
        lambda z: z if abs(z) <= a else mp.sign(z) * outside(abs(z) - a),
        lambda z: mpf(1) if abs(z) <= a else slope(abs(z) - a),
        tuple(mpf(s * d) for d in (a, *kinks) for s in (-1, 1)),
    )


def exponential_left(gain: str, alpha: str) -> Phi:
    g, c = mpf(gain), mpf(alpha)
    return Phi(
        lambda z: g * (z if z > 0 else c * mp.expm1(z)), lambda z: g * (1 if z > 0 else c * mp.exp(z)), (mpf(0),)
    )


def two_slopes(left: str) -> Phi:
    s = mpf(left)
    return Phi(lambda z: z if z > 0 else s * z, lambda z: mpf(1) if z > 0 else s, (mpf(0),))


def sigmoid(z: Real) -> Real:
    return 1 / (1 + mp.exp(-z))


def activation(name: str, a: int | None) -> Phi:
    families: dict[str, Callable[[int], Phi]] = {
        "Shtanh": lambda a: tail(a, lambda t: mpf(a), lambda t: mpf(0)),
        "Ssine": lambda a: tail(a, lambda t: a - 1 + mp.cos(t), lambda t: -mp.sin(t)),
        "Sexp": lambda a: tail(a, lambda t: a - 1 + mp.exp(-t), lambda t: -mp.exp(-t)),
        "Ssaw": lambda a: tail(a, lambda t: max(a - t, mpf(0)), lambda t: mpf(-1 if t < a else 0), (2 * a,)),
    }
    others: dict[str, Callable[[], Phi]] = {
        "tanh": lambda: Phi(mp.tanh, lambda z: 1 / mp.cosh(z) ** 2, pole=1.57),
        "erf": lambda: Phi(mp.erf, lambda z: 2 / mp.sqrt(mp.pi) * mp.exp(-z * z), pole=1.0),
        "sin": lambda: Phi(mp.sin, mp.cos),
        "gelu": lambda: Phi(lambda z: z * mp.ncdf(z), lambda z: mp.ncdf(z) + z * mp.npdf(z), pole=1.0),
        "silu": lambda: Phi(lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * sigmoid(-z)), pole=3.14),
        "softsign": lambda: Phi(lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2, (mpf(0),), 1.0),
        "elu": lambda: exponential_left("1", "1"),
        "selu": lambda: exponential_left("1.0507009873554804934193349852946", "1.6732632423543772848170429916717"),
        "relu": lambda: two_slopes("0"),
        "leaky_relu": lambda: two_slopes("0.01"),
        "abs": lambda: two_slopes("-1"),
    }
    return families[name](a) if a is not None else others[name]()


# --- Integrals ---


@lru_cache(maxsize=1)
def legendre() -> list[tuple[Real, Real]]:
    """Nodes and weights of Gauss-Legendre on [-1, 1]."""
    rule = []
    for i in range(ORDER):
        x = mp.cos(mp.pi * (i + mpf(3) / 4) / (ORDER + mpf(1) / 2))
        for _ in range(8):  # Newton doubles the digits
            before, value = mpf(1), x
            for n in range(2, ORDER + 1):
                before, value = value, ((2 * n - 1) * x * value - (n - 1) * before) / n
            slope = ORDER * (before - x * value) / (1 - x * x)
            x -= value / slope
        rule.append((x, 2 / ((1 - x * x) * slope**2)))
    return rule


def nodes(cuts: list[Real]) -> list[tuple[Real, Real]]:
    """Nodes and Gaussian weights on [-Z_MAX, Z_MAX], cut there, no panel wider than 2."""
    edges = sorted({-Z_MAX, Z_MAX, *(c for c in cuts if abs(c) < Z_MAX)})
    out = []
    for low, high in pairwise(edges):
        parts = int(mp.ceil((high - low) / 2))
        half = (high - low) / (2 * parts)
        for part in range(parts):
            centre = low + (2 * part + 1) * half
            points = [(centre + half * x, half * w) for x, w in legendre()]
            out += [(z, w * DENSITY_AT_0 * mp.exp(-z * z / 2)) for z, w in points]
    return out


def bends(phi: Phi, root: Real) -> list[Real]:
    """The kinks, and a grid graded towards 0 as the distance of the poles asks, in units of the standard deviation."""
    cuts, u = [mpf(0), *phi.kinks], mpf(phi.pole)
    while u < 2 * root:
        cuts += [u, -u]
        u *= mpf("1.6")
    return [c / root for c in cuts]


def mean(phi: Phi, g: Callable[[Real], Real], q: Real) -> Real:
    """E g(sqrt(q) Z) for a g made of phi."""
    root = mp.sqrt(q)
    return mp.fsum(w * g(root * z) for z, w in nodes(bends(phi, root)))


def pair(phi: Phi, g: Callable[[Real], Real], q: Real, rho: Real) -> Real:
    """E g(U1) g(U2), the inner integral over the part of U2 that is independent of U1."""
    if abs(rho) == 1:
        return mean(phi, lambda u: g(u) * g(rho * u), q)
    root, s = mp.sqrt(q), mp.sqrt(1 - rho * rho)
    cuts = bends(phi, root)
    turns = [c / rho + t * s / abs(rho) for c in cuts for t in (-8, -4, -2, -1, 0, 1, 2, 4, 8)] if rho else []
    total = []
    for z, w in nodes(cuts + turns):
        inner = mp.fsum(v * g(root * (rho * z + s * t)) for t, v in nodes([(c - rho * z) / s for c in cuts]))
        total.append(w * g(root * z) * inner)
    return mp.fsum(total)


# --- Records, kind by kind: each function returns the fields that it recomputes ---


def moments(r: Record) -> Record:
    phi, q = activation(r["act"], r["a"]), mpf(r["q"])
    powers = {"E_phi": (phi.f, 1), "E_phi2": (phi.f, 2), "E_dphi": (phi.df, 1), "E_dphi2": (phi.df, 2)}
    powers["E_dphi4"] = (phi.df, 4)
    return {name: mean(phi, lambda u, g=g, n=n: g(u) ** n, q) for name, (g, n) in powers.items()}  # type: ignore[misc]


def critical_variance(phi: Phi, bias: Real, guess: Real) -> Real:
    """The root of W(q) = q near the guess."""

    def excess(q: Real) -> Real:
        return mean(phi, lambda u: phi.f(u) ** 2, q) / mean(phi, lambda u: phi.df(u) ** 2, q) + bias - q

    return mp.findroot(excess, (guess, guess * (1 + mpf(10) ** -6)), solver="secant", tol=mpf(10) ** -48)


def eoc(r: Record) -> Record:
    if r["q_star"] is None:
        return {}
    phi, bias = activation(r["act"], r["a"]), mpf(r["vb"])
    # Three digits of the stored value start the secant; for homogeneous activations every q is critical.
    homogeneous = r["act"] in ("relu", "leaky_relu", "abs")
    q = mpf(1) if homogeneous else critical_variance(phi, bias, mpf(mp.nstr(mpf(r["q_star"]), 3)))
    square, slope2 = (mean(phi, lambda u, g=g: g(u) ** 2, q) for g in (phi.f, phi.df))  # type: ignore[misc]
    slope4 = mean(phi, lambda u: phi.df(u) ** 4, q)
    first, slope = mean(phi, phi.f, q), mean(phi, phi.df, q)
    radial = mean(phi, lambda u: phi.f(u) * phi.df(u) * u, q) / q
    slope2_rate = mean(phi, lambda u: phi.df(u) ** 2 * (u * u / q - 1), q) / (2 * q)
    fields = {"q_star": q, "vw": 1 / slope2, "E_phi": first, "E_phi2": square, "E_dphi2": slope2, "E_dphi4": slope4}
    fields |= {"moment_ratio": slope4 / slope2**2, "R0": (first**2 / slope2 + bias) / q, "dR0": slope**2 / slope2}
    fields |= {"vb_over_q": bias / q, "V_prime": radial / slope2}
    fields |= {"W_prime": (radial * slope2 - square * slope2_rate) / slope2**2}
    if r["a"] is not None:
        fields |= {"a_over_sqrtq": r["a"] / mp.sqrt(q), "y": bias / r["a"] ** 2}
    return fields


def corr(r: Record) -> Record:
    phi, bias, q, rho = activation(r["act"], r["a"]), mpf(r["vb"]), mpf(r["q_star"]), mpf(r["rho"])
    weight = 1 / mean(phi, lambda u: phi.df(u) ** 2, q)
    value = (weight * pair(phi, phi.f, q, rho) + bias) / q
    fields = {"R": value, "dR": weight * pair(phi, phi.df, q, rho)}
    return fields | ({"gap": value - rho} if "gap" in r else {})


def bounds(r: Record) -> Record:
    y = mpf(r["y"])

    def lambert(c: Real, x: Real) -> Real:
        return mp.sqrt(mp.lambertw(c / x**2))

    def log_root(excess: Callable[[Real], Real], guess: str) -> Real:
        """The root of ln(excess) in ln(l), from five digits of the stored one."""
        start = mp.log(mpf(mp.nstr(mpf(guess), 5)))
        return mp.exp(mp.findroot(lambda t: mp.log(excess(mp.exp(t))), (start, start + mpf(10) ** -6), tol=1e-48))

    def erfc(l: Real) -> Real:
        return mp.erfc(l / mp.sqrt(2))

    def saw(l: Real) -> Real:
        """1 - S(l) for the saw tooth, by its integrals."""
        rise = mp.quad(lambda z: z * z * mp.npdf(z), [0, l])
        fall = mp.quad(lambda z: (2 * l - z) ** 2 * mp.npdf(z), [l, 2 * l])
        return 1 - 2 * rise - 2 * fall

    digits, mp.dps = mp.dps, 60  # 1 - S cancels
    delta = lambert(2 / mp.pi, y)
    beta = y * (delta**2 + 2)
    nu = lambert(2 / mp.pi, beta)
    low = log_root(lambda l: 2 * mp.npdf(l) / l / (erfc(l) + y * (1 - erfc(l))), r["l_shtanh_sharp_lower"])
    high = log_root(lambda l: saw(l) / (y * l * l), r["l_zigzag_sharp_upper"])
    core = log_root(lambda l: (erfc(l) + 2 * l * mp.npdf(l)) / (y * l * l), r["l_core_upper"])
    inside, kept = 1 - erfc(low), 1 - erfc(nu)
    theorem = mp.cbrt(8 * y / mp.pi)
    fields = {"delta": delta, "beta": beta, "nu": nu, "l_shtanh_sharp_lower": low, "l_zigzag_sharp_upper": high}
    fields |= {"l_core_upper": core, "lambertw_upper": lambert(8 / mp.pi, y)}
    fields |= {"paper_upper": (8 / mp.pi) ** (mpf(1) / 6) / mp.cbrt(y), "thm_corr_bound": theorem}
    fields |= {"notebook_upper_typo": mp.cbrt(8 / mp.pi / y), "thm_moment_bound": 1 / kept**2 - 1}
    fields |= {"sharp_corr_min": y * low**2, "sharp_corr_sup": y * high**2, "sharp_moment_sup": 1 / inside - 1}
    fields |= {"corr_slack_shtanh": theorem / (y * low**2)}
    mp.dps = digits
    return fields


def rho_star(r: Record) -> Record:
    phi, weight, bias = activation(r["act"], r["a"]), mpf(r["vw"]), mpf(r["vb"])
    start = mpf(mp.nstr(mpf(r["q_star"]), 3))
    q = mp.findroot(lambda v: weight * mean(phi, lambda u: phi.f(u) ** 2, v) + bias - v, start, tol=1e-48)
    start = mpf(mp.nstr(mpf(r["rho_star"]), 3))
    rho = mp.findroot(lambda c: (weight * pair(phi, phi.f, q, c) + bias) / q - c, start, tol=1e-44)
    chi = weight * mean(phi, lambda u: phi.df(u) ** 2, q)
    return {"q_star": q, "chi1": chi, "rho_star": rho, "slope_at_rho_star": weight * pair(phi, phi.df, q, rho)}


def correlation_map(r: Record) -> Callable[[Real], Real]:
    """R: a closed kernel where there is one, a Chebyshev table in arccos(rho) otherwise."""
    phi, bias, q = activation(r["act"], r["a"]), mpf(r["vb"]), mpf(r["q_star"])
    weight = 1 / mean(phi, lambda u: phi.df(u) ** 2, q)
    kernels: dict[str, Callable[[Real], Real]] = {
        "erf": lambda c: 2 / mp.pi * mp.asin(2 * q * c / (1 + 2 * q)),
        "sin": lambda c: mp.exp(-q) * mp.sinh(q * c),
        "relu": lambda c: q / (2 * mp.pi) * (mp.sqrt(1 - c * c) + (mp.pi - mp.acos(c)) * c),
        "abs": lambda c: 2 * q / mp.pi * (mp.sqrt(1 - c * c) + mp.asin(c) * c),
    }
    kernel = kernels.get(r["act"]) or table(phi, q)
    return lambda c: (weight * kernel(c) + bias) / q


def table(phi: Phi, q: Real, degree: int = 96) -> Callable[[Real], Real]:
    """E phi(U1) phi(U2) as a barycentric interpolant at Chebyshev points of psi in [0, pi / 2]; 1e-12 or better."""
    x = [mp.cos(mp.pi * j / degree) for j in range(degree + 1)]
    psi = [mp.pi / 4 * (1 + t) for t in x]
    values = [pair(phi, phi.f, q, mp.cos(p)) for p in psi]
    weights = [(-1) ** j * (mpf("0.5") if j in (0, degree) else 1) for j in range(degree + 1)]

    def kernel(c: Real) -> Real:
        at = mp.acos(min(c, mpf(1)))
        if at in psi:
            return values[psi.index(at)]
        shares = [w / (at - p) for w, p in zip(weights, psi, strict=True)]
        return mp.fdot(shares, values) / mp.fsum(shares)

    return kernel


def depth(r: Record) -> Record:
    step, rho, layers, found = correlation_map(r), mpf(r["rho0"]), 0, {}
    for target in sorted(r["layers"], key=float):
        while rho < mpf(target):
            rho, layers = step(rho), layers + 1
        found[target] = layers
    return {"layers": found}


def jacobian_mc(r: Record) -> Record:
    """A fresh sample (no digits agree): m_2 / m_1^2 - 1 of one network of that width."""
    import numpy as np

    rng, n, a = np.random.default_rng(0), r["width"], r["a"]
    phi, bias = activation(r["act"], a), mpf(r["vb"])
    q = critical_variance(phi, bias, bias * 4 + a)
    gain = float(1 / mean(phi, lambda u: phi.df(u) ** 2, q)) ** 0.5
    jacobian, h = np.eye(n), rng.normal(0, float(q) ** 0.5, n)
    for _ in range(r["L"]):
        gaussian = rng.normal(size=(n, n))
        if r["init"] == "orthogonal":
            unitary, triangle = np.linalg.qr(gaussian)
            weights = unitary * np.sign(np.diag(triangle)) * gain
        else:
            weights = gaussian * gain / n**0.5
        jacobian = (np.abs(h) < a)[:, None] * (weights @ jacobian)
        h = weights @ np.clip(h, -a, a) + rng.normal(0, float(bias) ** 0.5, n)
    spectrum = np.linalg.svd(jacobian, compute_uv=False) ** 2
    return {"ratio_m2_m1sq_minus1": float((spectrum**2).mean() / spectrum.mean() ** 2 - 1)}


KINDS = {f.__name__: f for f in (moments, eoc, corr, bounds, rho_star, depth, jacobian_mc)}


def agreement(name: str, stored: Any, value: Any) -> float:
    """Correct digits of a field: decimals for the gap (a difference) and for what is below 1e-25, else relative."""
    if isinstance(value, dict):
        return 99.0 if value == stored else 0.0
    a, b = mpf(stored), mpf(value)
    error = abs(a - b) if name == "gap" or abs(a) < mpf(10) ** -25 else abs(a - b) / abs(a)
    return 99.0 if error == 0 else float(-mp.log10(error))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--act", help="only this activation")
    parser.add_argument("--stride", type=int, default=1, help="every n-th record")
    parser.add_argument("--write", type=Path, help="write the recomputed records there")
    options = parser.parse_args()
    fresh = []
    for r in json.loads((HERE / "oracle.json").read_text()):
        if r["kind"] in options.kinds and options.act in (None, r.get("act")):
            fresh.append(r)
    for i, r in enumerate(fresh[:: options.stride]):
        fields = KINDS[r["kind"]](r)
        digits = {name: agreement(name, r[name], value) for name, value in fields.items()}
        label = ", ".join(f"{k}={r[k]}" for k in ("act", "a", "q", "vb", "vw", "rho", "y") if r.get(k) is not None)
        worst = min(digits, key=digits.__getitem__, default=None)
        verdict = f"{digits[worst]:.1f} digits, least for {worst}" if worst else "no fixed point"
        print(f"{r['kind']} {label}: {verdict}", flush=True)
        fresh[i * options.stride] = r | {
            k: v if isinstance(v, dict | float) else mp.nstr(v, 20) for k, v in fields.items()
        }
    if options.write:
        lines = ",\n".join(json.dumps(r, separators=(",", ":")) for r in fresh[:: options.stride])
        options.write.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
