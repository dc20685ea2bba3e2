"""A model that is changed: its members begin anew, and are trained as long as those before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import copper
from helpers.trainings import train
from nearsight.files.records import Candidate, Model
from nearsight.learning.capacity import Capacity
from nearsight.training.fit import train_from_new_starts, train_members

OTHER = Model(hidden_layers=[4], l2=1e-6)


@pytest.mark.parametrize(("chunks", "passes"), [(3, 1), (5, 2)], ids=str)
def test_members_of_a_later_model_are_trained_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chunks: int, passes: int
) -> None:
    """With the first chunks all begin anew; later, new ones have iterations to make up for.

    Cu260 by SNAP, seed 1, changed its model with the last 4 of 32 chunks: 35.5 meV/Å, less trained
    than what it replaced; 33.8 with as many iterations again.
    """
    asked = []

    def choose(self: Capacity, *given: Any) -> tuple[Model, list[Candidate]]:
        asked.append(given)
        model = OTHER if len(asked) == passes else given[2]
        return model, [Candidate(model=each, error=0.1) for each in (given[2], OTHER)]

    monkeypatch.setattr(Capacity, "choose", choose)
    monkeypatch.setattr("nearsight.learning.session.choice_is_due", lambda *_: True)
    nft = copper.whole(max_chunks=chunks)
    state = train(nft, tmp_path)
    assert [each.chunks for each in state.history] == [0, 3, 5][: passes + 1]
    assert state.model == OTHER
    training = nft.training.model_copy(update={"l2": OTHER.l2})
    fits = train_from_new_starts(
        state.data, state.multiplicities, training, nft.seed, training.initial_iterations
    )
    if passes == 2:
        starts = [fit.weights for fit in fits]
        fits = train_members(state.data, state.multiplicities, starts, training)
    np.testing.assert_array_equal(state.weights, [fit.weights for fit in fits])
