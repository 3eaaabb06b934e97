"""Compute kernels.json with mpmath: the kernels of infinitely wide networks, layer by layer at 40 digits.

    python tests/reference/kernels.py                        # all records, a few minutes
    python tests/reference/kernels.py --only erf relu        # theirs, seconds; the others are kept

Correlations: closed forms for ReLU, the absolute value, erf and sin; Price's theorem for hard tanh, whose integral is
first compared with the two-dimensional one of generate.py; that one itself for the others, and then for few layers.
Nothing here uses afli: rho itself is iterated, which 40 digits allow. A cosine is the float nearest to what is
written.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from generate import Phi, activation, critical_variance, legendre, mean, pair
from mpmath import mp, mpf

mp.dps = 40
HERE = Path(__file__).parent
WIDTH, IN_FEATURES = 300, 3072
Real = Any
Moments = Callable[[Real], tuple[Real, Real]]  # rho -> E phi phi, E phi' phi'

COSINES = ("-1", "-0.9", "-0.3", "0", "0.5", "0.9", "0.999", "0.999999", "0.999999999999", "1")
DEPTHS = (1, 2, 5, 20, 50, 200, 1000)


def closed(name: str, q: Real) -> Moments | None:
    def relu(c: Real) -> tuple[Real, Real]:
        angle = mp.acos(c)
        return q / (2 * mp.pi) * (mp.sin(angle) + (mp.pi - angle) * c), (mp.pi - angle) / (2 * mp.pi)

    def absolute(c: Real) -> tuple[Real, Real]:
        return 2 * q / mp.pi * (mp.sqrt(1 - c * c) + mp.asin(c) * c), 2 / mp.pi * mp.asin(c)

    def erf(c: Real) -> tuple[Real, Real]:
        share = 2 * q / (1 + 2 * q)
        return 2 / mp.pi * mp.asin(share * c), 4 / mp.pi / (1 + 2 * q) / mp.sqrt(1 - (share * c) ** 2)

    def sin(c: Real) -> tuple[Real, Real]:
        return mp.exp(-q) * mp.sinh(q * c), mp.exp(-q) * mp.cosh(q * c)

    return {"relu": relu, "abs": absolute, "erf": erf, "sin": sin}.get(name)


def hard_tanh(a: int, q: Real) -> Moments:
    """By Price's theorem, integrated from rho = 0 in the angle; odd in rho."""
    phi = activation("Shtanh", a)
    slope2 = mean(phi, phi.df, q) ** 2
    l2 = mpf(a) ** 2 / q

    def second(t: Real) -> Real:
        """cos(t) times the second derivative of E phi phi / q in rho = sin(t)."""
        s, c2 = mp.sin(t), mp.cos(t) ** 2
        near = mp.exp(-l2 / (1 + s)) - mp.exp(-l2 / (1 - s)) if s < 1 else mp.exp(-l2 / 2)
        return near / mp.pi if c2 else mp.exp(-l2 / 2) / mp.pi

    def at(c: Real) -> tuple[Real, Real]:
        if c < 0:
            value, slope = at(-c)
            return -value, slope
        end, value, slope = mp.asin(c), c * slope2 * q, slope2
        # Panels shrink towards pi / 2, where one of the exponentials dies out faster than any power.
        edges = [mpf(0), *(mp.pi / 2 * (1 - mpf(2) ** -k) for k in range(1, 12)), mp.pi / 2]
        for low, high in pairwise(edges):
            low, high = min(low, end), min(high, end)
            if high > low:
                half = (high - low) / 2
                for x, w in legendre():
                    t = low + half * (1 + x)
                    k = half * w * second(t)
                    value, slope = value + q * (c - mp.sin(t)) * k, slope + k
        return value, slope

    return at


def two_dimensional(phi: Phi, q: Real) -> Moments:
    return lambda c: (pair(phi, phi.f, q, c), pair(phi, phi.df, q, c))


def kernels(square: Real, moments: Moments, case: dict[str, Any], rho: Real, depths: tuple[int, ...]) -> Iterator[dict]:
    q, weight, bias = case["q"], case["vw"], case["vb"]
    a0 = rho * square
    standard, ntk, c = IN_FEATURES * a0 + 1, weight * a0 + bias, (weight * a0 + bias) / q
    for depth in range(1, max(depths) + 1):
        c = max(min(c, mpf(1)), mpf(-1))
        value, slope = moments(c)
        standard = weight * slope * standard + WIDTH * value + 1
        ntk = weight * slope * ntk + weight * value + bias
        c = (weight * value + bias) / q
        if depth in depths:
            yield {"depth": depth, "nngp": q * c, "standard": standard, "ntk": ntk}


@lru_cache
def cases() -> list[dict[str, Any]]:
    """Activation, radius, bias variance; weight variance where the network is not on the edge of chaos."""
    few, deep = ("-0.5", "0.6", "0.99"), ("0.6", "0.999999")
    table = [
        ("relu", None, "0", None, COSINES, DEPTHS),
        ("abs", None, "0", None, COSINES, DEPTHS),
        ("erf", None, "0.1", None, COSINES, DEPTHS),
        ("erf", None, "0.0001", None, COSINES, DEPTHS),
        ("erf", None, "0.05", "1.6", COSINES, (1, 2, 5, 20, 50)),  # chaos
        ("erf", None, "0.3", "0.5", COSINES, DEPTHS),  # order
        ("sin", None, "0.1", None, COSINES, DEPTHS),
        ("Shtanh", 1, "1", None, COSINES, (1, 2, 5, 20)),
        ("Shtanh", 1, "0.01", None, COSINES, (1, 2, 5, 20)),
        ("Shtanh", 5, "0.1", None, deep, (1, 20, 200)),
        ("Shtanh", 1, "0.05", "2", few, (1, 2, 5, 20)),  # chaos
        ("Ssine", 1, "0.1", None, ("-0.5", "0.9"), (1, 2)),
        ("elu", None, "0.1", None, ("-0.5", "0.9"), (1, 2)),
        ("tanh", None, "0.1", None, ("0.9",), (1, 2)),
    ]
    return [dict(zip(("act", "a", "vb", "vw", "cosines", "depths"), row, strict=True)) for row in table]


def solve(case: dict[str, Any]) -> dict[str, Any]:
    """q* and sigma_w^2 at 30 digits or more."""
    phi, bias = activation(case["act"], case["a"]), mpf(case["vb"])
    if case["act"] in ("relu", "abs"):
        q = mpf(1)
    elif case["vw"] is None:
        known = {"erf": bias ** mpf("0.6"), "sin": mpf("0.5"), "Shtanh": mpf(case["a"] or 1) ** 2 / 2 + bias}
        start = {"Ssine": mpf("0.50553"), "elu": mpf("2.2131"), "tanh": mpf("0.8058")}
        q = critical_variance(phi, bias, {**known, **start}[case["act"]])
    else:
        weight = mpf(case["vw"])
        start = mpf("0.7")
        q = mp.findroot(lambda v: weight * mean(phi, lambda u: phi.f(u) ** 2, v) + bias - v, start, tol=1e-60)
    weight = 1 / mean(phi, lambda u: phi.df(u) ** 2, q) if case["vw"] is None else mpf(case["vw"])
    return case | {"phi": phi, "q": q, "vw": weight, "vb": bias}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="only these activations")
    only = parser.parse_args().only
    path, records = HERE / "kernels.json", []
    kept = json.loads(path.read_text(encoding="utf-8")) if only else []
    for case in cases():
        if only and case["act"] not in only:
            records += [r for r in kept if all(r[name] == case[name] for name in ("act", "a", "vb", "vw"))]
            continue
        solved = solve(case)
        phi, q = solved["phi"], solved["q"]
        moments = closed(case["act"], q)
        if moments is None and case["act"] == "Shtanh":
            moments = hard_tanh(case["a"], q)
            for new, old in zip(moments(mpf("0.7")), two_dimensional(phi, q)(mpf("0.7")), strict=True):
                assert abs(new - old) < mpf(10) ** -18, (case, new, old)
        moments = moments or two_dimensional(phi, q)
        square = mean(phi, lambda u, f=phi.f: f(u) ** 2, q)
        for cosine in case["cosines"]:
            for found in kernels(square, moments, solved, mpf(float(cosine)), case["depths"]):
                record = {k: case[k] for k in ("act", "a", "vb", "vw")} | {"rho": cosine}
                record |= {k: v if k == "depth" else mp.nstr(v, 20) for k, v in found.items()}
                records.append(record)
        print(case["act"], case["a"], case["vb"], case["vw"], "q =", mp.nstr(q, 15), flush=True)
    lines = ",\n".join(json.dumps(record, separators=(",", ":")) for record in records)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
