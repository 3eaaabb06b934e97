"""The training engine against plain torch and Keras, and against the memory bandwidth of a GPU.

    python benchmarks/engine.py verify --device cuda   # float64 on the device equals the CPU, every activation
    python benchmarks/engine.py cpu                    # writes benchmarks/engine_cpu.csv
    python benchmarks/engine.py gpu                    # writes benchmarks/engine_gpu.csv

All contestants train the network of Section 4.1 (width 300, batch 64, inputs and classes as CIFAR-10, plain SGD) on
random numbers, in turns within each round, with one thread. KERAS_PYTHON may name a Python with tensorflow-cpu and
tf_keras; without it Keras is left out. The time of a network-step is the median over the rounds; on a CPU
it is processor time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from afli import activations as act
from afli.experiments import LinearSchedule, Setup
from afli.experiments.provenance import machine
from afli.networks.ensemble import Ensemble, Member, Tensors
from afli.networks.init import WEIGHTS, edge_of_chaos_
from afli.networks.modules import FORMULAS, mlp
from afli.networks.products import products_for

HERE = Path(__file__).parent
DEPTHS = (20, 50, 100, 200)
WIDTH, BATCH, FEATURES, CLASSES = 300, 64, 3072, 10
A, SIGMA_W2, SIGMA_B2, RATE = 5.0, 1.03, 0.1, 1e-4

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def random_images(
    device: str, dtype: torch.dtype = torch.float32, count: int = 1024, features: int = FEATURES
) -> Tensors:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(count, features, generator=g, dtype=torch.float64).to(device, dtype)
    y = (torch.arange(count) % CLASSES).to(device)
    return Tensors(x, y, x[:128], y[:128])


# --- Contestants: each returns a function that takes some steps and returns the seconds per network-step ---

Contestant = Callable[[int], float]


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def timed(device: str, work: Callable[[], object], network_steps: int) -> float:
    """Seconds per network-step: wall time on a GPU; this process's processor time on a CPU that others may share."""
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    synchronise(device)
    start = clock()
    work()
    synchronise(device)
    return (clock() - start) / network_steps


def the_ensemble(depth: int, members: int, device: str) -> Contestant:
    data = random_images(device)
    phi = act.shtanh(A)
    team = [Member(phi, SIGMA_W2, SIGMA_B2, RATE, weights="gaussian", trial=e % 4) for e in range(members)]
    ensemble = Ensemble(team, data, depth=depth, width=WIDTH, batch=BATCH)

    def steps(count: int) -> float:
        order = torch.randint(len(data.y_train), (members, count, BATCH))
        return timed(device, lambda: ensemble.train(order), members * count)

    return steps


def products_alone(depth: int, members: int, device: str) -> Contestant:
    """The three matrix products of every layer, as the ensemble takes them, and nothing else."""
    sizes = [FEATURES, *[WIDTH] * depth, CLASSES]
    batch = {n: torch.randn(members, BATCH, n, device=device) for n in set(sizes)}
    weights = [torch.randn(members, n, m, device=device) / n**0.5 for n, m in pairwise(sizes)]
    biases = [torch.zeros(members, 1, m, device=device) for m in sizes[1:]]
    out, tiny = {n: torch.empty_like(z) for n, z in batch.items()}, {n: 1e-6 * z for n, z in batch.items()}
    products = [products_for(weight) for weight in weights]

    def step() -> None:
        for weight, bias, product in zip(weights, biases, products, strict=True):
            product.forward(bias, batch[weight.shape[1]], weight, out[weight.shape[2]])
        for l, (weight, product) in reversed(list(enumerate(zip(weights, products, strict=True)))):
            n_in, n_out = weight.shape[1:]
            if l > 0:
                product.back(batch[n_out], weight, out[n_in])
            product.update(weight, batch[n_in], tiny[n_out])

    return lambda count: timed(device, lambda: [step() for _ in range(count)], members * count)


def plain_torch(depth: int, device: str) -> Contestant:
    data = random_images(device)
    layers = mlp(depth, WIDTH, in_features=FEATURES, out_features=CLASSES, activation=act.shtanh(A))
    for index in range(1, 2 * depth, 2):
        layers[index] = torch.nn.Hardtanh(-A, A)
    # As the ensemble's: torch's own small weights would let gradients sink to subnormal numbers, slow on some CPUs.
    edge_of_chaos_(layers, act.shtanh(A), sigma_b2=SIGMA_B2, weights="gaussian")
    model = layers.to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)

    def step() -> None:
        rows = torch.randint(len(data.y_train), (BATCH,), device=device)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(data.x_train[rows]), data.y_train[rows]).backward()
        optimiser.step()

    return lambda count: timed(device, lambda: [step() for _ in range(count)], count)


KERAS = f"""
import json, sys, time
import numpy as np, tensorflow as tf, tf_keras as keras
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
model = keras.Sequential([keras.Input(({FEATURES},))])
for _ in range(int(sys.argv[1])):
    model.add(keras.layers.Dense({WIDTH}, activation=lambda z: tf.clip_by_value(z, -{A}, {A})))
model.add(keras.layers.Dense({CLASSES}))
model.compile(keras.optimizers.SGD({RATE}), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
x, y = np.random.randn({BATCH}, {FEATURES}).astype("f4"), np.random.randint({CLASSES}, size={BATCH})
model.train_on_batch(x, y)
print(json.dumps(tf.__version__), flush=True)
for line in sys.stdin:
    count = int(line)
    start = time.process_time()
    for _ in range(count):
        model.train_on_batch(x, y)
    print((time.process_time() - start) / count, flush=True)
"""


@contextmanager
def keras(depth: int) -> Iterator[tuple[Contestant | None, str]]:
    """A Keras model in a process of its own, and the version of TensorFlow; nothing without KERAS_PYTHON."""
    python = os.environ.get("KERAS_PYTHON")
    if not python:
        yield None, ""
        return
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        [python, "-c", KERAS, str(depth)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        version = json.loads(process.stdout.readline())

        def steps(count: int) -> float:
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield steps, version
        process.stdin.close()


# --- Tables ---


def race(contestants: dict[str, Contestant], rounds: int, steps: int) -> dict[str, float]:
    """Median seconds per network-step, the contestants taking turns; the first round warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, contestant in contestants.items():
            seconds = contestant(steps)
            if round_ > 0:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def write(rows: list[dict[str, object]], device: str, out: Path, note: str) -> None:
    date = datetime.now(UTC).date().isoformat()
    fixed = {
        "width": WIDTH,
        "batch": BATCH,
        "machine": machine(device),
        "date": date,
        "torch": torch.__version__,
        "note": note,
    }
    table = pd.DataFrame([row | fixed for row in rows])
    if out.exists():  # what other machines have measured stays
        others = pd.read_csv(out)
        table = pd.concat([others[others["machine"] != fixed["machine"]], table], ignore_index=True)
    table.to_csv(out, index=False, float_format="%.4g")
    typer.echo(table.to_string(index=False, float_format=lambda x: f"{x:.4g}"))


@app.command()
def cpu(
    out: Annotated[Path, typer.Option(help="The table to write.")] = HERE / "engine_cpu.csv",
    members: Annotated[int, typer.Option(help="Networks in the ensemble.")] = 8,
    rounds: Annotated[int, typer.Option(help="Rounds that count.")] = 5,
    note: Annotated[str, typer.Option(help="About the machine, e.g. that it was shared.")] = "",
) -> None:
    """Processor milliseconds per network-step: ensemble, plain torch, Keras; one thread."""
    torch.set_num_threads(1)
    rows = []
    for depth in DEPTHS:
        with keras(depth) as (keras_steps, version):
            contestants = {
                "ensemble": the_ensemble(depth, members, "cpu"),
                "its matrix products alone": products_alone(depth, members, "cpu"),
                "torch autograd": plain_torch(depth, "cpu"),
            }
            if keras_steps:
                contestants[f"Keras, TensorFlow {version}"] = keras_steps
            seconds = race(contestants, rounds, steps=max(2, 100 // depth))
        for name, s in seconds.items():
            together = name in ("ensemble", "its matrix products alone")
            row = {"depth": depth, "method": name, "members": members if together else 1}
            row |= {"ms_per_network_step": 1e3 * s, "network_steps_per_second": 1 / s}
            rows.append(row | {"times_the_ensemble": s / seconds["ensemble"]})
        typer.echo(f"L = {depth}: " + ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in seconds.items()))
    write(rows, "cpu", out, note)


def copy_bandwidth(device: str, gibibytes: float = 2.0) -> float:
    """Bytes read and written per second by a large copy, the best of ten."""
    source = torch.empty(int(gibibytes * 2**30 / 4), device=device)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / min(timed(device, lambda: target.copy_(source), 1) for _ in range(10))


def least_traffic(depth: int) -> int:
    """Bytes that one network-step must move if every elementwise operation were fused into a product.

    Hidden weights: read forward, read backward, read and written by the update; the input layer's not read backward.
    A hidden layer's batch of numbers: outputs written, read by the next layer, by the mask and by the weight gradient;
    delta written, read by the weight gradient and by the next product.
    """
    hidden, first = (depth - 1) * WIDTH**2 + WIDTH * CLASSES, FEATURES * WIDTH
    return 4 * (4 * hidden + 3 * first + 7 * depth * BATCH * WIDTH + 2 * BATCH * FEATURES)


@app.command()
def gpu(
    out: Annotated[Path, typer.Option(help="The table to write.")] = HERE / "engine_gpu.csv",
    members: Annotated[int, typer.Option(help="Networks in the ensemble.")] = 80,
    device: Annotated[str, typer.Option(help="The CUDA device.")] = "cuda",
    note: Annotated[str, typer.Option(help="About the machine.")] = "",
) -> None:
    """Microseconds per network-step, the fraction of the bandwidth floor, and the ratio to one-at-a-time torch."""
    bandwidth = copy_bandwidth(device)
    typer.echo(f"copy bandwidth {bandwidth / 1e12:.2f} TB/s")
    rows = []
    for depth in DEPTHS:
        floor = least_traffic(depth) / bandwidth
        alone = race({"torch": plain_torch(depth, device)}, rounds=3, steps=30)["torch"]
        for arithmetic in ("float32", "tf32"):
            with Setup(device, arithmetic).active():
                seconds = race({"ensemble": the_ensemble(depth, members, device)}, rounds=5, steps=20)["ensemble"]
            rows.append({
                "depth": depth, "arithmetic": arithmetic, "members": members, "us_per_network_step": 1e6 * seconds,
                "floor_us": 1e6 * floor, "fraction_of_floor": floor / seconds, "torch_one_at_a_time_us": 1e6 * alone,
                "speedup": alone / seconds, "copy_TB_per_s": bandwidth / 1e12,
            })  # fmt: skip
            typer.echo(f"L = {depth}, {arithmetic}: {1e6 * seconds:.1f} us, {floor / seconds:.0%} of the floor")
    write(rows, device, out, note)


# --- Correctness on a device ---


def largest_difference(phis: list[act.Activation], weights: str, device: str, schedule: bool = False) -> float:
    """Between the weights and test losses of two ensembles, on the device and on the CPU, after 20 steps in float64."""
    team = [Member(phi, 1.1, 0.1 * (e + 1), 0.02, weights=weights, trial=e) for e, phi in enumerate(phis)]
    order = torch.randint(128, (len(team), 20, 16), generator=torch.Generator().manual_seed(2))
    results = []
    for where in (device, "cpu"):
        data = random_images(where, torch.float64, count=128, features=24)
        ensemble = Ensemble(team, data, depth=6, width=40, batch=16, dtype=torch.float64)
        for epoch in (1, 2):
            if schedule:
                ensemble.set_scale([LinearSchedule(e + 2.0, 1.0, 2)(epoch) for e in range(len(team))])
            ensemble.train(order[:, 10 * (epoch - 1) : 10 * epoch])
        results.append([ensemble.evaluate()[0], *(w.cpu() for w in ensemble.weights + ensemble.biases)])
    return max(float((one - other).abs().max()) for one, other in zip(*results, strict=True))


@app.command()
def verify(device: Annotated[str, typer.Option(help="The device to compare with the CPU.")] = "cuda") -> None:
    """float64 training on a device equals the CPU's to 1e-10: every activation, both initialisations, a schedule."""
    failed = 0
    for family in FORMULAS:
        bounded = family in act.SCALED_BOUNDED_FAMILIES
        phis = [act.get(family, a=a) for a in (1.0, 2.0, 4.0)] if bounded else [act.get(family)] * 3
        for weights in WEIGHTS:
            for schedule in (False, True) if bounded else (False,):
                difference = largest_difference(phis, weights, device, schedule)
                failed += not difference < 1e-10
                typer.echo(f"{family:11} {weights:11} {'schedule' if schedule else '        '} {difference:.1e}")
    typer.echo(f"{failed} failed on {machine(device)}, torch {torch.__version__}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    app()
