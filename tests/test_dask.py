"""Experiments on a real Dask cluster: the same rows, even when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from itertools import product

import pandas as pd
import pytest
import torch
from distributed import Client, LocalCluster

from afli import data, experiments
from afli.experiments import Experiment, Grid, Table, executors


def grid() -> Grid:
    """A few seconds of work in eight chunks."""
    cells = product(range(8), (2.0, 5.0), (1.0, 0.1, 0.01, 1e-3))
    return Grid("test", "dask", tuple(
        Experiment(depth=10, width=32, activation="shtanh", parameters=(("a", a),), sigma_b2=sigma_b2, trial=trial,
                   learning_rate=1e-3, epochs=20)
        for trial, a, sigma_b2 in cells
    ))  # fmt: skip


def run(out, executor: str) -> pd.DataFrame:
    report = experiments.run(grid(), out, executor=executor, echo=lambda line: None)
    assert report.missing == 0
    return Table(report.table).frame.drop(columns="train_seconds")


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> pd.DataFrame:
    return run(tmp_path_factory.mktemp("local"), "local")


@pytest.mark.cluster
def test_two_workers_one_of_them_killed_give_the_rows_of_one_process(tmp_path, expected):
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        pids = list(client.run(os.getpid).values())
        table = tmp_path / "test-dask-digits.parquet"

        def kill_one_when_the_first_rows_are_there() -> None:
            while not table.exists():
                time.sleep(0.01)
            rows_at_the_kill.append(len(pd.read_parquet(table)))
            os.kill(pids[0], signal.SIGKILL)

        rows_at_the_kill: list[int] = []
        killer = threading.Thread(target=kill_one_when_the_first_rows_are_there)
        killer.start()
        frame = run(tmp_path, f"dask://{cluster.scheduler_address}")
        killer.join()
        assert pids[0] not in client.run(os.getpid).values()
    assert 0 < rows_at_the_kill[0] < len(expected)  # there was work left to lose
    pd.testing.assert_frame_equal(frame, expected)


@pytest.mark.cluster
def test_local_workers_give_the_rows_of_one_process(tmp_path, expected):
    pd.testing.assert_frame_equal(run(tmp_path, "dask-local:1"), expected)


def test_a_worker_that_is_slow_to_die_does_not_take_the_run_with_it():
    class Busy:
        closed = False

        def close(self) -> None:
            self.closed = True
            raise TimeoutError("the worker's process has not ended in 5 s")

    cluster = Busy()
    executors._close(cluster)
    assert cluster.closed


def test_workers_that_do_not_start_are_one_line_with_the_usual_remedy(tmp_path, monkeypatch):
    def fails(**settings):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.LocalCluster", fails)
    stopped = experiments.run(grid(), tmp_path, executor="dask-local:1", budget=0, echo=lambda line: None)
    assert stopped.stopped == "the budget is used up"
    with pytest.raises(ConnectionError, match=r'no local worker starts .* `if __name__ == "__main__":`'):
        experiments.run(grid(), tmp_path, executor="dask-local:1", echo=lambda line: None)


def test_a_cluster_needs_a_dataset_by_name(tmp_path):
    with pytest.raises(ValueError, match="a dataset by name"):
        experiments.run(grid(), tmp_path, dataset=data.load("digits"), executor="dask-local:1", echo=lambda line: None)


@pytest.mark.parametrize(
    "executor", ["slurm", "dask-local:0", "dask-local:many", "dask://", "dask://host", "dask://h:x"]
)
def test_unknown_executors_are_named(tmp_path, executor):
    with pytest.raises(ValueError, match=f"executor must be local, .*got '{executor}'"):
        experiments.run(grid(), tmp_path, executor=executor)


DOOM = """
import os
import afli.experiments.executors as executors

train = executors.train

def doomed(chunk, *rest, **more):  # as the kernel does where a chunk needs more memory than there is
    if any(e.sigma_b2 == 0.5 for e in chunk):
        os._exit(137)
    return train(chunk, *rest, **more)

executors.train = doomed
"""


@pytest.mark.slow
def test_a_chunk_that_kills_its_worker_is_named_and_given_up_and_the_rest_goes_on(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(DOOM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = {"width": 16, "activation": "shtanh", "parameters": (("a", 1.0),), "learning_rate": 1e-3, "epochs": 2}
    cells = tuple(Experiment(depth=d, sigma_b2=b, **settings) for d, b in ((3, 0.1), (4, 0.5), (5, 0.1)))
    said: list[str] = []
    report = experiments.run(Grid("test", "doomed", cells), tmp_path / "out", executor="dask-local:2", echo=said.append)
    assert (report.finished, report.missing, report.lost) == (2, 1, 1)
    assert any("given up: 1 networks" in line and "depth 4" in line and "its worker died" in line for line in said)


@pytest.mark.slow
def test_a_budget_shorter_than_a_chunk_makes_progress_on_workers_too(tmp_path):
    one = Grid("test", "long", (replace(grid().experiments[0], epochs=3000),))
    options = {
        "executor": "dask-local:1",
        "budget": 0.1,
        "echo": lambda line: None,
    }  # less than a worker needs to start
    steps = []
    for _ in range(2):
        assert experiments.run(one, tmp_path, **options).missing == 1
        (path,) = tmp_path.rglob("*.pt")
        saved = torch.load(path, weights_only=True)
        steps.append((saved["epoch"], saved["step"]))
    assert (0, 0) < steps[0] < steps[1]


@pytest.mark.slow
def test_a_scheduler_that_nobody_runs_is_one_line(tmp_path):
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ConnectionError, match=r"no Dask scheduler answers at 127\.0\.0\.1:9"),
    ):
        experiments.run(grid(), tmp_path, executor="dask://127.0.0.1:9", echo=lambda line: None)
