"""A sweep: every cell of the grid once, and the same numbers wherever it runs."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from meshmodel.grid import SweepError, sweep
from meshmodel.mesh import Mesh
from meshmodel.scenario import Scenario

MANIFESTS = Path(__file__).parents[2] / "data" / "tutorial" / "manifests"
GRID = {"connections": [1, 10], "qps": [20, 1000]}


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return Mesh(overhead="3ms").apply(MANIFESTS / "testbed.yaml", MANIFESTS / "slow-backend-1.yaml", MANIFESTS / "dr-random.yaml")


@pytest.fixture(scope="module")
def load(mesh):
    return partial(mesh.fortio_load, duration="10s")


@pytest.fixture(scope="module")
def serial(load):
    return sweep(load, GRID, replications=20, seed=7)


def test_there_is_a_row_for_each_cell_in_order(serial):
    assert list(zip(serial["connections"], serial["qps"], strict=True)) == [(1, 20), (1, 1000), (10, 20), (10, 1000)]
    assert (serial["avg lo"] <= serial["avg"]).all() and (serial["avg"] <= serial["avg hi"]).all()
    assert serial["requests"].tolist() == pytest.approx(20 * serial["count"])
    assert (serial["code 200"] == 1).all()


def test_a_cell_depends_on_its_parameters(serial):
    assert serial["count"][3] > 5 * serial["count"][0]


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("forkserver"))])
def test_the_numbers_are_the_same_on_any_executor(load, serial, pool):
    with pool(max_workers=2) as executor:
        pd.testing.assert_frame_equal(sweep(load, GRID, replications=20, seed=7, executor=executor), serial, check_exact=True)


def test_dask_is_an_executor(load, serial):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with distributed.Client(processes=False, n_workers=1, dashboard_address=None) as client, client.get_executor() as executor:
        pd.testing.assert_frame_equal(sweep(load, GRID, replications=20, seed=7, executor=executor), serial, check_exact=True)


def test_cells_have_different_random_numbers_unless_they_are_common(load):
    same_cell_twice = {"connections": [3, 3]}
    own = sweep(load, same_cell_twice, replications=5)["avg"]
    common = sweep(load, same_cell_twice, replications=5, seed=4, common_random_numbers=True)["avg"]
    assert own[0] != own[1]
    assert common[0] == common[1] == load(connections=3, replications=5, seed=4).mean.mean()


def test_the_seed_decides(load):
    first, again, other = (sweep(load, {"connections": [3]}, replications=5, seed=seed)["avg"][0] for seed in (1, 1, 2))
    assert first == again != other


def test_a_function_may_give_scenarios_or_closed_forms(mesh, serial):
    plain = mesh.scenario(mesh.fortio_load(duration="10s", replications=1).scenario.workload)

    def build(workers: int) -> Scenario:
        return replace(plain, workers=workers)

    simulated = sweep(build, {"workers": [1, 4]}, replications=40)
    assert simulated["answered by simple-backend-1"].to_numpy() == pytest.approx(
        [1 / 3, 1 / 3], abs=0.05
    )  # 9,000 requests each: 10 standard errors
    predicted = sweep(partial(mesh.predict, duration="10s"), GRID)
    # 20 runs of some 23 requests or more a cell: a mean spreads by 4.4 % at most, 20 % is 4.5 times that: false alarms below 1e-4
    assert serial["avg"].to_numpy() == pytest.approx(predicted["avg"].to_numpy(), rel=0.2)


def test_a_code_that_a_cell_never_saw_has_the_share_zero(mesh):
    failing = Mesh(overhead=0).apply(MANIFESTS / "testbed.yaml", MANIFESTS / "failing-backend-1-500.yaml", MANIFESTS / "dr-random.yaml")
    meshes = {"healthy": mesh, "failing": failing}

    def build(which: str, replications: int, seed: int):
        return meshes[which].curl(10, replications, seed)

    table = sweep(build, {"which": ["healthy", "failing"]}, replications=20)
    assert table["code 500"][0] == 0 < table["code 500"][1]


def test_numpy_ranges_are_grids_too(load):
    assert sweep(load, {"connections": np.arange(1, 3), "qps": np.geomspace(10, 100, 2)}, replications=1).shape[0] == 4


@pytest.mark.parametrize(
    ("grid", "part"),
    [
        ({}, "no parameter"),
        ({"connections": []}, "connections: has no values"),
        ({"connections": "ten"}, "must be a list of values"),
        ({"connections": 10}, "must be a list of values"),
        ({"connections": [1, 0]}, "connections=0: connections: must be a whole number of 1 or more"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused(load, grid, part):
    with pytest.raises(SweepError, match=part):
        sweep(load, grid, replications=1)


def test_a_parameter_that_hides_a_figure_is_refused(load):
    with pytest.raises(SweepError, match="count: is the name of a figure"):
        sweep(
            lambda count, replications, seed: load(connections=count, replications=replications, seed=seed), {"count": [1]}, replications=1
        )
