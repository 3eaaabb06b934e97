"""Compute hard.json with mpmath: values that ask for more than a routine integral, from closed forms at 50 digits.

    python tests/reference/hard.py              # all records, minutes: the depths are iterated layer by layer
    python tests/reference/hard.py map edge     # these kinds; the others are kept

`map`: R and R' of snake, sin(3 z), sin(4 z), whose waves are short beside sqrt(q). `edge`: q* of elu with a small
alpha, which is nearly ReLU. `depth`: layers from rho = 0.2 to a target next to 1. Nothing here uses afli.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpmath import mp, mpf

mp.dps = 50
FILE = Path(__file__).with_name("hard.json")
Real = Any  # an mpf
Record = dict[str, Any]


# --- R and R' ---


def snake_moments(q: Real, c: Real) -> tuple[Real, Real]:
    """E phi phi and E phi' phi' of z + sin(z)^2."""
    value = c * q + mpf(1) / 4 - mp.exp(-2 * q) / 2 + mp.exp(-4 * q) * mp.cosh(4 * c * q) / 4
    return value, 1 + mp.exp(-4 * q) * mp.sinh(4 * c * q)


def sine_moments(w: int) -> Callable[[Real, Real], tuple[Real, Real]]:
    def moments(q: Real, c: Real) -> tuple[Real, Real]:
        p = w * w * q
        return mp.exp(-p) * mp.sinh(c * p), w * w * mp.exp(-p) * mp.cosh(c * p)

    return moments


MOMENTS = {"snake": snake_moments, "sin(3 z)": sine_moments(3), "sin(4 z)": sine_moments(4)}


def correlation(r: Record) -> Record:
    """At a fixed sigma_w2, or on the edge of chaos where it is null."""
    moments, bias = MOMENTS[r["act"]], mpf(r["vb"])

    def weight(q: Real) -> Real:
        return mpf(r["vw"]) if r["vw"] else 1 / moments(q, mpf(1))[1]

    start = 3 * bias if r["vw"] is None else bias + mpf(r["vw"]) / 2
    q = mp.findroot(lambda v: weight(v) * moments(v, mpf(1))[0] + bias - v, (start, start + 1), tol=mpf(10) ** -60)
    value, slope = moments(q, mpf(r["rho"]))
    return {"q": q, "R": (weight(q) * value + bias) / q, "dR": weight(q) * slope}


# --- q* of elu ---


def edge(r: Record) -> Record:
    alpha, bias = mpf(r["alpha"]), mpf(r["vb"])

    def left(k: int, q: Real) -> Real:
        """E[exp(k U); U < 0]."""
        root = mp.sqrt(q)
        return mp.exp(k * k * q / 2) * mp.erfc(k * root / mp.sqrt(2)) / 2

    def excess(log_q: Real) -> Real:
        q = mp.exp(log_q)
        square = q / 2 + alpha**2 * (left(2, q) - 2 * left(1, q) + mpf(1) / 2)
        return mp.log((q - square / (mpf(1) / 2 + alpha**2 * left(2, q))) / bias)

    low, high = mp.log(bias), mpf(80)  # r(q) = q - E phi^2 / E phi'^2 is below q, and rises
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return {"q": mp.exp(low)}


# --- Depths ---


def depth(r: Record) -> Record:
    bias, target, rho, layers = mpf(r["vb"]), mpf(r["target"]), mpf(r["rho0"]), 0
    if r["act"] == "relu":
        q, weight = mpf(1), mpf(2)

        def kernel(c: Real) -> Real:
            return (mp.sqrt(1 - c * c) + (mp.pi - mp.acos(c)) * c) / (2 * mp.pi)
    else:
        q = mp.findroot(lambda v: mp.pi / 4 * mp.sqrt(1 + 4 * v) * erf_kernel(v, mpf(1)) + bias - v, mpf(r["start"]))
        weight = mp.pi / 4 * mp.sqrt(1 + 4 * q)

        def kernel(c: Real) -> Real:
            return erf_kernel(q, c)

    with mp.workdps(26):  # a million layers at 50 digits would take minutes
        while rho < target:
            rho, layers = (weight * kernel(rho) + bias) / q, layers + 1
    return {"layers": layers}


def erf_kernel(q: Real, c: Real) -> Real:
    return 2 / mp.pi * mp.asin(2 * q * c / (1 + 2 * q))


KINDS: dict[str, Callable[[Record], Record]] = {"map": correlation, "edge": edge, "depth": depth}
QUESTIONS: list[Record] = [
    *(
        {"kind": "map", "act": act, "vw": vw, "vb": vb, "rho": rho}
        for act, vw, biases in (
            ("snake", None, ("2", "3.15", "5")),
            ("sin(3 z)", "1", ("5", "10")),
            ("sin(4 z)", "1", ("5", "10")),
        )
        for vb in biases
        for rho in ("0", "0.5", "0.99", "0.999", "1")
    ),
    *(
        {"kind": "edge", "alpha": alpha, "vb": vb}
        for alpha, vb in (
            ("0.01", "1e-4"),
            ("0.01", "0.01"),
            ("0.01", "0.1"),
            ("1e-3", "1e-6"),
            ("1e-3", "1e-3"),
            ("1e-4", "1e-8"),
            ("1e-4", "1e-6"),
            ("1e-5", "1e-7"),
            ("1e-6", "1e-12"),
            ("1e-6", "1e-9"),
            ("1e-3", "0.1"),
            ("1e-6", "1e-7"),
        )
    ),
    *(
        {"kind": "depth", "act": "relu", "vb": "0", "rho0": "0.2", "target": t}
        for t in ("0.9999", "0.99999999", "0.9999999999")
    ),
    {"kind": "depth", "act": "erf", "vb": "0.001", "rho0": "0.2", "target": "0.9999", "start": "0.09"},
    {"kind": "depth", "act": "erf", "vb": "0.1", "rho0": "-0.5", "target": "0.9999", "start": "0.6"},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}")
    wanted = parser.parse_args().kinds or list(KINDS)
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else []
    rows = []
    for question in QUESTIONS:
        kept = [r for r in known if all(r.get(k) == v for k, v in question.items())]
        if question["kind"] not in wanted and kept:
            rows.append(kept[0])
            continue
        found = KINDS[question["kind"]](question)
        rows.append(question | {k: v if isinstance(v, int) else mp.nstr(v, 20) for k, v in found.items()})
    FILE.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
