"""The kernels of the infinitely wide network beside neural-tangents: the same Gram matrices, times, memory.

    python benchmarks/kernels.py                  # makes an environment for neural-tangents (1 GB), a few minutes
    python benchmarks/kernels.py --folder ENVS    # keeps it there, and finds it again

Writes kernels.csv beside this file. erf and ReLU have closed forms in neural-tangents; hard tanh has none there, so it
stands alone. Both kernels of 2,000 inputs, of 64 features, on the sphere on which layer 1 has variance q*. Each row
is a process of its own with one thread: CPU seconds to make the function (for neural-tangents: to compile it) and to
evaluate it once made, the peak of memory, and the largest error over the diagonal, of pairs from near to far, against
the same recursion in 40 digits (mpmath). Compiled as a whole, 200 layers of neural-tangents took over 12 GB; so that
depth is run layer by layer only.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

HERE = Path(__file__).resolve().parent
IMAGES, FEATURES = 2000, 64
DEPTHS = (20, 50, 200)
# Per activation: bias variance, on the edge of chaos; the layer in neural-tangents, if it has one.
CASES: dict[str, tuple[float, str | None]] = {"erf": (0.1, "Erf"), "relu": (0.0, "Relu"), "shtanh": (0.1, None)}
PAIRS = [(i, i + 1) for i in range(0, IMAGES, 100)]  # from a distance of a thousandth to independent inputs
COLUMNS = ["activation", "depth", "method", "images", "make_seconds", "seconds", "peak_MB", "error", "machine"]
COLUMNS += ["load", "date", "versions"]


def inputs(sigma_w2: float, sigma_b2: float, q: float) -> Any:
    """Rows whose mean square gives layer 1 the variance q. Half of them come in near pairs: correlations up to 1."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(IMAGES, FEATURES))
    x[1::2] = x[::2] + np.geomspace(1e-3, 10, IMAGES // 2)[:, None] * x[1::2]
    return x * np.sqrt((q - sigma_b2) / sigma_w2 / np.mean(x**2, axis=1, keepdims=True))


def network(activation: str, sigma_b2: float) -> Any:
    """The theory of a case, on the edge of chaos; Shtanh with a = 3."""
    from afli import activations as act
    from afli import meanfield as mf

    parameters = {"a": 3.0} if activation == "shtanh" else {}
    return mf.edge_of_chaos(getattr(act, activation)(**parameters), sigma_b2=sigma_b2)


def ours(case: dict[str, Any]) -> dict[str, Any]:
    """Both Gram matrices by afli."""
    from afli import kernels

    net, depth = network(case["activation"], case["sigma_b2"]), case["depth"]
    x = inputs(net.sigma_w2, net.sigma_b2, net.q)
    start = time.process_time()
    nngp = kernels.nngp_function(net, depth)
    ntk = kernels.ntk_function(net, depth, width=1, in_features=FEATURES, parametrisation="ntk")
    made = time.process_time()
    rho = kernels.cosines(x)
    matrices = {"nngp": nngp(rho), "ntk": ntk(rho)}
    return matrices | {"make_seconds": made - start, "seconds": time.process_time() - made}


def theirs(case: dict[str, Any], compiled: bool = False) -> dict[str, Any]:
    """Both Gram matrices by neural-tangents, layer by layer or compiled as a whole."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import jax

    jax.config.update("jax_enable_x64", True)
    import numpy as np
    from neural_tangents import stax

    deviations = case["sigma_w2"] ** 0.5, case["sigma_b2"] ** 0.5
    layer = getattr(stax, CASES[case["activation"]][1] or "")
    block = [part for _ in range(case["depth"]) for part in (stax.Dense(1, *deviations), layer())]
    _, _, kernel = stax.serial(*block, stax.Dense(1, *deviations))
    x = inputs(case["sigma_w2"], case["sigma_b2"], case["q"])
    start = time.process_time()
    both = partial(kernel, x2=None, get=("nngp", "ntk"))
    if compiled:
        both = jax.jit(both).lower(x).compile()
    made = time.process_time()
    found = jax.block_until_ready(both(x))
    matrices = {"nngp": np.asarray(found.nngp), "ntk": np.asarray(found.ntk)}
    return matrices | {"make_seconds": made - start, "seconds": time.process_time() - made}


THEIRS = ["neural-tangents", "jax", "numpy"]
METHODS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]] = {
    "afli": (ours, ["afli", "numpy", "scipy"]),
    "neural-tangents": (theirs, THEIRS),
    "neural-tangents, compiled": (partial(theirs, compiled=True), THEIRS),
}
DEEPEST_COMPILED = 50


def work(method: str, case: dict[str, Any], out: Path) -> None:
    """In a process of its own: one row's matrices and numbers into a file."""
    from importlib import metadata

    import numpy as np

    function, packages = METHODS[method]
    found = function(case)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kB on Linux
    versions = "; ".join(f"{package} {metadata.version(package)}" for package in packages)
    np.savez(out, **found, peak_MB=peak, versions=versions)


def exact(case: dict[str, Any], x: Any, pairs: list[tuple[int, int]]) -> dict[str, list[float]]:
    """Both kernels of pairs of inputs in 40 digits, by the closed forms of erf and ReLU."""
    from mpmath import acos, asin, mp, mpf, pi, sqrt

    mp.dps = 40
    w, b = mpf(case["sigma_w2"]), mpf(case["sigma_b2"])

    def moments(q: Any, other: Any, k: Any) -> tuple[Any, Any]:
        """E phi(u) phi(v) and E phi'(u) phi'(v) of a Gaussian pair with variances q, other and covariance k."""
        if case["activation"] == "erf":
            size = (1 + 2 * q) * (1 + 2 * other)
            return 2 / pi * asin(2 * k / sqrt(size)), 4 / pi / sqrt(size - 4 * k**2)
        size = sqrt(q * other)
        angle = acos(min(k / size, mpf(1)))
        return (sqrt(max(size**2 - k**2, mpf(0))) + k * (pi - angle)) / (2 * pi), (pi - angle) / (2 * pi)

    def mean_product(row: Any, column: Any) -> Any:
        return sum(mpf(float(u)) * mpf(float(v)) for u, v in zip(row, column, strict=True)) / FEATURES

    found: dict[str, list[float]] = {"nngp": [], "ntk": []}
    for i, j in pairs:
        k, q, other = (w * mean_product(x[m], x[n]) + b for m, n in ((i, j), (i, i), (j, j)))
        theta = k
        for _ in range(case["depth"]):
            product, slopes = moments(q, other, k)
            q, other = (w * moments(v, v, v)[0] + b for v in (q, other))
            k = w * product + b
            theta = k + w * slopes * theta
        found["nngp"].append(float(k))
        found["ntk"].append(float(theta))
    return found


def cases() -> list[dict[str, Any]]:
    """What each process is told."""
    found = []
    for name, (sigma_b2, _) in CASES.items():
        net = network(name, sigma_b2)
        settings = {"sigma_w2": net.sigma_w2, "sigma_b2": net.sigma_b2, "q": net.q}
        found += [{"activation": name, "depth": depth, **settings} for depth in DEPTHS]
    return found


def environment(folder: Path) -> Path:
    """The interpreter of an environment that has neural-tangents, made if it is not there."""
    from peers import PEERS

    python = folder / "neural-tangents" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "neural-tangents")], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *PEERS["neural-tangents"][1]], check=True)
    return python


def rows(python: Path, scratch: Path) -> list[dict[str, Any]]:
    """Every case by both methods, and how far they are apart."""
    import numpy as np
    from theory import machine

    found = []
    for case in cases():
        results = {}
        for method in METHODS:
            if method != "afli" and CASES[case["activation"]][1] is None:
                continue
            if method.endswith("compiled") and case["depth"] > DEEPEST_COMPILED:
                continue
            out = scratch / f"{method}.npz"
            settings = [f"{name}={value}" for name, value in case.items()]
            interpreter = sys.executable if method == "afli" else str(python)
            subprocess.run([interpreter, __file__, "--work", method, *settings, str(out)], check=True)
            with np.load(out) as file:
                results[method] = dict(file)
        closed = CASES[case["activation"]][1] is not None
        exactly = exact(case, inputs(case["sigma_w2"], case["sigma_b2"], case["q"]), PAIRS) if closed else {}
        for method, result in results.items():
            errors = [
                np.abs([result[k][pair] for pair in PAIRS] - np.array(values)).max() / result[k].max()
                for k, values in exactly.items()
            ]
            row = {
                "activation": case["activation"], "depth": case["depth"], "method": method, "images": IMAGES,
                "make_seconds": f"{result['make_seconds']:.3g}", "seconds": f"{result['seconds']:.3g}",
                "peak_MB": f"{result['peak_MB']:.0f}", "error": f"{max(errors):.1e}" if errors else "",
                "machine": machine(), "load": f"{os.getloadavg()[0]:.1f}", "date": time.strftime("%Y-%m-%d"),
                "versions": str(result["versions"]),
            }  # fmt: skip
            print(*(row[column] for column in COLUMNS[:8]), flush=True)
            found.append(row)
    return found


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        _, _, method, *settings, out = sys.argv
        given = dict(setting.split("=") for setting in settings)
        numbers = {name: float(given[name]) for name in ("sigma_w2", "sigma_b2", "q")}
        work(method, {"activation": given["activation"], "depth": int(given["depth"]), **numbers}, Path(out))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the environment of neural-tangents is or goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = rows(environment(options.folder or Path(temporary)), Path(temporary))
    with (HERE / "kernels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(found)


if __name__ == "__main__":
    if platform.system() == "Windows":
        sys.exit("benchmarks/kernels.py reads the peak of memory as Linux and macOS give it")
    main()
