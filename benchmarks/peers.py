"""What the peers of `theory.py` compute: dks and neural-tangents, each run by an interpreter of its own.

    python benchmarks/peers.py dks             # in an environment that has it: prints its rows as JSON

This file needs nothing but the peer; `theory.py` makes the environments and collects the rows.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

Row = dict[str, Any]
Results = Iterator[tuple[str, str, Any, float, str]]  # task, method, value, seconds, note

SQUARE = "hard tanh: E phi^2, q = 1"
SLOPE = "hard tanh: E phi'^2, q = 1"
SQUARE_HALF = "hard tanh: E phi^2, q = 0.5"
SLOPE_HALF = "hard tanh: E phi'^2, q = 0.5"
PAIR = "hard tanh: E phi(U1) phi(U2), q = 1, rho = 0.5"
EVERYTHING = "all of it"
PAIR_ERF = "erf: E phi(U1) phi(U2), q = 1, rho = 0.5"


def timed(f: Callable[[], Any], repeats: int = 7, least: float = 0.02) -> tuple[Any, float]:
    """The value, and the CPU seconds of one call: the best of several loops of at least `least` seconds each."""
    value, loops = f(), 1
    best = math.inf
    for _ in range(repeats):
        while True:
            start = time.process_time()
            for _ in range(loops):
                f()
            spent = time.process_time() - start
            if spent >= least:
                break
            loops *= 10 if spent < least / 10 else 2
        best = min(best, spent / loops)
    return value, best


def dks() -> Results:
    """dks works at q = 1 without biases, and divides by E phi^2."""
    import autograd.numpy as np
    from autograd.scipy.special import erf
    from dks.base import activation_transform as dks_

    def hard_tanh(x: Any) -> Any:
        return np.clip(x, -1.0, 1.0)

    square, seconds = timed(lambda: dks_._estimate_gaussian_mean(lambda x: hard_tanh(x) ** 2))
    yield SQUARE, "dks", square, seconds, "100,000-point rule on [-10, 10]"
    yield SLOPE, "dks", *timed(lambda: dks_._calc_c_slope(hard_tanh, q_output=1.0)), "by automatic differentiation"
    yield PAIR, "dks", *timed(lambda: dks_._calc_c_map(hard_tanh, c=0.5, q_output=1.0), repeats=3), "dblquad inside"
    yield PAIR_ERF, "dks", *timed(lambda: dks_._calc_c_map(erf, c=0.5, q_output=1.0), repeats=3), "dblquad inside"


def neural_tangents() -> Results:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as np
    from neural_tangents import stax

    # Inputs of two components whose mean square is q, at the angle arccos(rho).
    one, other = np.array([[2**0.5, 0.0]]), np.array([[0.5 * 2**0.5, 0.75**0.5 * 2**0.5]])
    half = np.array([[1.0, 0.0]])

    def kernels(layer: Any) -> Callable[[Any, Any, str], float]:
        _, _, kernel = stax.serial(stax.Dense(1), layer)
        kernel = jax.jit(kernel, static_argnames="get")
        return lambda x, y, get: float(kernel(x, y, get)[0, 0])

    for degree in (25, 100):
        kernel = kernels(stax.ElementwiseNumerical(lambda z: np.clip(z, -1.0, 1.0), deg=degree))
        note = f"Gauss-Hermite, degree {degree}; compiled"
        yield SQUARE, f"neural-tangents, degree {degree}", *timed(lambda k=kernel: k(one, one, "nngp")), note
        yield SLOPE, f"neural-tangents, degree {degree}", *timed(lambda k=kernel: k(one, one, "ntk")), note
        yield SQUARE_HALF, f"neural-tangents, degree {degree}", *timed(lambda k=kernel: k(half, half, "nngp")), note
        slope = timed(lambda k=kernel: k(half, half, "ntk") / 0.5)  # of the tangent kernel, q E phi'^2
        yield SLOPE_HALF, f"neural-tangents, degree {degree}", *slope, note
        yield PAIR, f"neural-tangents, degree {degree}", *timed(lambda k=kernel: k(one, other, "nngp")), note
    closed = kernels(stax.Erf())
    yield PAIR_ERF, "neural-tangents, closed", *timed(lambda: closed(one, other, "nngp")), "closed form, compiled"


def rows_of(source: Callable[[], Results], packages: list[str]) -> list[Row]:
    versions = "; ".join(f"{p} {metadata.version(p)}" for p in packages)
    return [
        {"task": task, "method": method, "value": value, "seconds": seconds, "note": note, "versions": versions}
        for task, method, value, seconds, note in source()
    ]


PEERS = {
    "dks": (dks, ["dks==0.1.2", "absl-py"]),
    "neural-tangents": (neural_tangents, ["neural-tangents==0.6.5", "jax<0.4.37", "jaxlib<0.4.37"]),
}


def run_peer(peer: str, folder: Path) -> list[Row]:
    """The rows of a peer from an environment of its own; one row that says why, if there are none."""
    _, packages = PEERS[peer]
    python = folder / peer / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder / peer)], check=True, timeout=120)
            install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
            subprocess.run(install, check=True, timeout=600)
        command = [str(python), __file__, peer]
        done = subprocess.run(command, check=True, timeout=600, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        return [{"task": EVERYTHING, "method": peer, "note": f"skipped: {type(error).__name__}: {str(error)[:200]}"}]


if __name__ == "__main__":
    function, packages = PEERS[sys.argv[1]]
    names = [package.split("=")[0].split("<")[0] for package in packages]
    print(json.dumps([row | {"value": float(row["value"])} for row in rows_of(function, names)]))
