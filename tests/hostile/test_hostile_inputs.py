"""Every hostile input is refused or taken: no code run, no request, no traceback, in bounds."""

import cases
import pytest
from arena import run
from shared import build

EVERY = {case.id: case for case in cases.every()}


@pytest.fixture(scope="session")
def outcomes(request, tmp_path_factory):
    """What became of each case that is asked for, all run at once."""
    asked = {
        item.callspec.params["name"]
        for item in request.session.items
        if getattr(item, "callspec", None) and item.path == request.path
    }
    chosen = [case for name, case in EVERY.items() if name in asked]
    shared = build(tmp_path_factory.mktemp("shared"))
    found = run(chosen, tmp_path_factory.mktemp("cases"), shared)
    return {case.id: outcome for case, outcome in found}


def test_there_are_many_and_each_has_a_name_of_its_own():
    assert len(EVERY) == len(cases.every()) >= 400


@pytest.mark.parametrize("name", EVERY)
def test_a_hostile_input_does_no_harm(name, outcomes):
    assert not outcomes[name].problems
