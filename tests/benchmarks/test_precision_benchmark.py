"""Weights move in the precisions that recipes ship with, and hardly in the one that is refused."""

import pytest


@pytest.fixture(scope="module")
def benchmark():
    import precision

    return precision


def test_weights_move_in_the_precision_of_the_recipes(benchmark):
    outcomes = benchmark.compared(updates=8)
    for arm in benchmark.ARMS:
        found = outcomes[arm.name]
        if "refused" in arm.name:
            assert found.moved(norms=False) < 0.05
            assert found.moved(norms=True) == 0
            assert found.distance(outcomes[benchmark.FLOAT32]) > 0.9
        else:
            assert found.moved(norms=False) > 0.99
            assert found.distance(outcomes[arm.reference]) < 0.3
    lines = benchmark.table(outcomes).splitlines()
    assert len(lines) == 1 + len(benchmark.ARMS)
