"""The numerics of afli beside scipy's quad and dblquad, dks and neural-tangents: the same values, errors and times.

    python benchmarks/theory.py            # afli and scipy: a minute or two
    python benchmarks/theory.py --peers    # also the peers, each in an environment of its own (3 GB, minutes)

Writes results/theory.csv beside this file. Seconds are CPU seconds of one thread, the least of several repeats. Errors
are against the oracle in tests/reference, or against its generator (mpmath) where the oracle has no such record.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers import (
    EVERYTHING,
    PAIR,
    PAIR_ERF,
    PEERS,
    SLOPE,
    SLOPE_HALF,
    SQUARE,
    SQUARE_HALF,
    Results,
    Row,
    rows_of,
    run_peer,
    timed,
)

HERE = Path(__file__).resolve().parent
REFERENCE = HERE.parent / "tests" / "reference"

EDGE = "hard tanh: q* on the edge of chaos, sigma_b2 = 0.01"
CELL = "hard tanh: rho* at sigma_w2 = 2.5, sigma_b2 = 0.1 (with q* and chi_1)"
DIAGRAM = "hard tanh: 40 x 40 phase diagram"
DIAGRAM_SEXP = "Sexp: 40 x 40 phase diagram"
TABLE = "Sexp: fill one correlation table, sigma_b2 = 0.1"
MAP = "hard tanh: R at 10,000 correlations"
MAP_SEXP = "Sexp: R at 10,000 correlations, table filled"
IMPORT = "import, as a multiple of importing numpy and scipy.special"

MEANS = (SQUARE, SLOPE, SQUARE_HALF, SLOPE_HALF, PAIR, PAIR_ERF)
NETWORKS = (EDGE, CELL, DIAGRAM, DIAGRAM_SEXP, TABLE, MAP, MAP_SEXP)
ORDER = [*MEANS, *NETWORKS, IMPORT, EVERYTHING]

# The project's targets for afli, in seconds (for the import: the multiple).
TARGETS = {DIAGRAM: 0.05, DIAGRAM_SEXP: 60.0, TABLE: 0.3, IMPORT: 1.3}


# --- afli ---


def afli() -> Results:
    import numpy as np

    from afli import activations as act
    from afli import correlation, gaussian
    from afli import meanfield as mf

    phi, sexp, rho = act.shtanh(1.0), act.sexp(1.0), np.linspace(-1, 1, 10_000)
    weights, biases = np.linspace(0.5, 3, 40), np.linspace(1e-4, 0.25, 40)
    kinks = phi.kinks
    for q, square, slope in ((1.0, SQUARE, SLOPE), (0.5, SQUARE_HALF, SLOPE_HALF)):
        yield square, "afli, closed", *timed(lambda q=q: mf.variance_map(phi, q, sigma_w2=1, sigma_b2=0)), ""
        panels = timed(lambda q=q: gaussian.expectation(lambda u: phi(u) ** 2, q, kinks=kinks))
        yield square, "afli, quadrature", *panels, "cut at the kinks"
        yield slope, "afli, closed", *timed(lambda q=q: mf.chi1(phi, q, sigma_w2=1)), ""
    price = timed(lambda: float(correlation.PriceCurve(phi, 1.0).value(np.array(0.5))))
    yield PAIR, "afli, closed", *price, "one integral, by Price's theorem"
    both = {"q1": 1.0, "q2": 1.0}
    nested = timed(lambda: gaussian.expectation2(phi, phi, 0.5, **both, kinks_f=kinks, kinks_g=kinks))
    yield PAIR, "afli, quadrature", *nested, "nested"
    erf = act.erf()
    yield PAIR_ERF, "afli, quadrature", *timed(lambda: gaussian.expectation2(erf, erf, 0.5, **both)), "nested"
    yield EDGE, "afli", *timed(lambda: mf.edge_of_chaos(phi, sigma_b2=0.01).q), ""

    def cell() -> float:
        return mf.MeanField(phi, sigma_w2=2.5, sigma_b2=0.1).correlation_fixed_point()

    yield CELL, "afli", *timed(cell), "its grid of second moments is filled once"
    diagram = timed(lambda: mf.phase_diagram(phi, sigma_w2=weights, sigma_b2=biases), repeats=15)[1]
    yield DIAGRAM, "afli", None, diagram, "q*, chi_1 and rho* in 1,600 cells"

    def cold() -> Any:
        correlation.chebyshev_coefficients.cache_clear()
        return mf.phase_diagram(sexp, sigma_w2=weights, sigma_b2=biases)

    yield DIAGRAM_SEXP, "afli", None, timed(cold, repeats=2)[1], "q*, chi_1 and rho* in 1,600 cells; tables filled anew"

    def fill() -> Any:
        correlation.chebyshev_coefficients.cache_clear()
        return correlation.ChebyshevCurve(sexp, 0.39139045244772)

    yield TABLE, "afli", None, timed(fill)[1], f"{len(fill()._value)} Chebyshev terms"
    net, net_sexp = mf.edge_of_chaos(phi, sigma_b2=0.1), mf.edge_of_chaos(sexp, sigma_b2=0.1)
    yield MAP, "afli", None, timed(lambda: net.correlation_map(rho))[1], ""
    yield MAP_SEXP, "afli", None, timed(lambda: net_sexp.correlation_map(rho))[1], ""
    yield IMPORT, "afli", *import_ratio(), "CPU seconds of `import afli`, interpreter not counted"


def import_ratio(repeats: int = 15) -> tuple[float, float]:
    """CPU seconds of `import afli` over those of `import numpy, scipy.special`, both without the bare interpreter."""

    def seconds(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE.parent)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    codes = ("pass", "import numpy, scipy.special", "import afli")
    best = dict.fromkeys(codes, math.inf)
    for _ in range(repeats):  # interleaved, so that a busy spell hits all alike
        best = {code: min(best[code], seconds(code)) for code in codes}
    bare, usual, ours = best.values()
    return (ours - bare) / (usual - bare), ours - bare


# --- scipy, as one writes it without thinking about kinks ---


def scipy() -> Results:
    from scipy.integrate import IntegrationWarning, dblquad, quad
    from scipy.optimize import brentq

    warnings.simplefilter("ignore", IntegrationWarning)

    def phi(z: float) -> float:
        return max(-1.0, min(1.0, z))

    def slope(z: float) -> float:
        return 1.0 if -1 < z < 1 else 0.0

    def p(z: float) -> float:
        return math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)

    def mean(f: Callable[[float], float], q: float) -> float:
        return quad(lambda z: f(math.sqrt(q) * z) * p(z), -math.inf, math.inf)[0]

    def pair(f: Callable[[float], float], q: float, rho: float) -> float:
        root, s = math.sqrt(q), math.sqrt(1 - rho * rho)

        def integrand(y: float, x: float) -> float:
            return f(root * x) * f(root * (rho * x + s * y)) * p(x) * p(y)

        return dblquad(integrand, -math.inf, math.inf, -math.inf, math.inf)[0]

    def iterate(step: Callable[[float], float]) -> float:
        q, after = math.inf, 1.0
        while abs(after - q) > 1e-5:
            q, after = after, step(after)
        return after

    def edge() -> float:
        return iterate(lambda q: mean(lambda u: phi(u) ** 2, q) / mean(lambda u: slope(u) ** 2, q) + 0.01)

    def cell() -> float:
        q = iterate(lambda v: 2.5 * mean(lambda u: phi(u) ** 2, v) + 0.1)
        mean(lambda u: slope(u) ** 2, q)
        return brentq(lambda rho: (2.5 * pair(phi, q, rho) + 0.1) / q - rho, 0.0, 0.99, xtol=1e-8)

    luck = "the kinks happen to lie where quad first cuts the line"
    yield SQUARE, "scipy quad", *timed(lambda: mean(lambda u: phi(u) ** 2, 1.0)), luck
    yield SLOPE, "scipy quad", *timed(lambda: mean(lambda u: slope(u) ** 2, 1.0)), luck
    yield SQUARE_HALF, "scipy quad", *timed(lambda: mean(lambda u: phi(u) ** 2, 0.5)), ""
    yield SLOPE_HALF, "scipy quad", *timed(lambda: mean(lambda u: slope(u) ** 2, 0.5)), ""
    yield PAIR, "scipy dblquad", *timed(lambda: pair(phi, 1.0, 0.5), repeats=3), ""
    yield PAIR_ERF, "scipy dblquad", *timed(lambda: pair(math.erf, 1.0, 0.5), repeats=3), ""
    yield EDGE, "scipy quad", *timed(edge, repeats=3), "iterates W until a step is below 1e-5"
    rho, seconds = timed(cell, repeats=1)
    yield CELL, "scipy quad, dblquad", rho, seconds, "iterates V until a step is below 1e-5; brentq for rho*"
    yield DIAGRAM, "scipy quad, dblquad", None, 1600 * seconds, "extrapolated: 1,600 times one chaotic cell"


# --- The table ---


def references() -> dict[str, Any]:
    """Values to 20 digits."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("generate", REFERENCE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    records = json.loads((REFERENCE / "oracle.json").read_text(encoding="utf-8"))

    def stored(field: str, **labels: Any) -> Any:
        return generate.mpf(next(r[field] for r in records if all(r.get(k) == v for k, v in labels.items())))

    hard_tanh, moments = generate.activation("Shtanh", 1), {"kind": "moments", "act": "Shtanh", "a": 1}
    return {
        SQUARE: stored("E_phi2", q="1", **moments),
        SLOPE: stored("E_dphi2", q="1", **moments),
        SQUARE_HALF: stored("E_phi2", q="0.5", **moments),
        SLOPE_HALF: stored("E_dphi2", q="0.5", **moments),
        PAIR: generate.pair(hard_tanh, hard_tanh.f, generate.mpf(1), generate.mpf("0.5")),
        PAIR_ERF: 2 / generate.mp.pi * generate.mp.asin(generate.mpf(1) / 3),
        EDGE: stored("q_star", kind="eoc", act="Shtanh", a=1, vb="0.01"),
        CELL: stored("rho_star", kind="rho_star", vw="2.5", vb="0.1"),
    }


def machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def write(rows: list[Row], path: Path) -> None:
    exact, where = references(), machine()
    busy = f"load {os.getloadavg()[0]:.1f}: " + ("other work was running" if os.getloadavg()[0] > 1.2 else "idle")
    columns = ["task", "method", "value", "error", "seconds", "target", "note"]
    columns += ["machine", "load", "date", "python", "versions"]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        table.writeheader()
        for row in sorted(rows, key=lambda row: ORDER.index(row["task"])):
            value, task = row.get("value"), row["task"]
            filled = row | {"value": "" if value is None else repr(float(value))}
            if value is not None and task in exact:
                filled["error"] = f"{abs(float(exact[task] - value)):.1e}"
            if "seconds" in row:
                filled["seconds"] = f"{row['seconds']:.3g}"
            if row["method"] == "afli" and task in TARGETS:
                filled["target"] = f"<= {TARGETS[task]:g}" if task == IMPORT else f"< {TARGETS[task]:g} s"
            filled |= {"machine": where, "load": busy, "date": time.strftime("%Y-%m-%d")}
            table.writerow(filled | {"python": platform.python_version()})
            print(f"{task:72} {row['method']:28} {filled.get('seconds', ''):>9} s  error {filled.get('error', '-'):>8}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="also dks and neural-tangents (installs them elsewhere)")
    parser.add_argument(
        "--folder", type=Path, help="where the peers' environments are or go; a temporary one otherwise"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / "theory.csv")
    options = parser.parse_args()
    rows = rows_of(afli, ["afli", "numpy", "scipy"]) + rows_of(scipy, ["numpy", "scipy"])
    if options.peers:
        with tempfile.TemporaryDirectory() as temporary:
            for peer in PEERS:
                rows += run_peer(peer, options.folder or Path(temporary))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write(rows, options.out)


if __name__ == "__main__":
    main()
