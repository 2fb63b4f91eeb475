"""The earliest of the event loop's timers, whatever was set in what order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from meshmodel.simulation.timers import NEVER, set_timer, stop_all, tournament

SET = st.lists(st.tuples(st.integers(0, 15), st.sampled_from([0.0, 0.1, 0.1, 0.25, 3.0, NEVER])), max_size=40)


@given(SET)
def test_the_root_names_the_earliest_and_of_equal_ones_the_lowest(changes: list[tuple[int, float]]) -> None:
    timer = np.full(16, NEVER)
    tree = tournament(timer)
    set_one = getattr(set_timer, "py_func", set_timer)
    for slot, at in changes:
        set_one(timer, tree, slot, at)
        assert timer[slot] == at and tree[1] == timer.argmin()
    assert np.array_equal(tree, tournament(timer))
    getattr(stop_all, "py_func", stop_all)(timer, tree)
    assert (timer == NEVER).all() and np.array_equal(tree, tournament(np.full(16, NEVER)))
