"""Radial and angular symmetry functions counted and chosen apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from helpers import copper
from nearsight.config import FeatureSettings
from nearsight.errors import InputError
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import G2, G4, SymmetryFunctions
from nearsight.selection.choose import choose_features


def test_angular_functions_are_chosen_after_the_radial_ones() -> None:
    images = copper.cells()
    choice = choose_features(images, FeatureSettings(count=7, angular_count=3, **copper.GRID))
    radial = choose_features(images, FeatureSettings(count=4, **copper.GRID | {"g4_eta": ()}))
    found = list(choice.symmetry_functions.functions["Cu"])
    assert found[:4] == list(radial.symmetry_functions.functions["Cu"])
    # the first angular one is of those the radial ones represent worst (CUR: nearly the worst)
    candidates = SymmetryFunctions.candidates(["Cu"], **FeatureSettings(**copper.GRID).grid)
    functions = candidates.functions["Cu"]
    features = [candidates.compute(image.atoms) for image in images]
    matrix = np.concatenate([each["Cu"] for each in features])
    scale, offset = Scaling.fit(candidates, features).linear("Cu")
    matrix = matrix * scale + offset
    taken = matrix[:, [functions.index(f) for f in found[:4]]]
    left = {
        f: np.linalg.norm(column - taken @ np.linalg.lstsq(taken, column, rcond=None)[0])
        for f, column in zip(functions, matrix.T, strict=True)
        if isinstance(f, G4)
    }
    assert left[found[4]] >= 0.5 * max(left.values())
    assert all(isinstance(f, G4) for f in found[4:])
    assert len(found[4:]) == 3


def test_no_angular_functions_where_the_radial_ones_tell_all() -> None:
    images = [copper.labelled(bulk("Cu", a=a)) for a in (3.5, 3.6, 3.7)]
    choice = choose_features(images, FeatureSettings(count=3, angular_count=1, **copper.GRID))
    assert [type(f) for f in choice.symmetry_functions.functions["Cu"]] == [G2, G2]
    assert "2 of 3 wanted for Cu" in choice.summary


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"count": 7, "angular_count": 7}, "features.angular_count must be 1 to 6 for Cu"),
        ({"count": 13, "angular_count": 12}, "with 13 functions of 6 radial and 8 angular"),
        ({"count": 7, "angular_count": {"Au": 2}}, "features.angular_count has no number for Cu"),
    ],
)
def test_what_angular_counts_cannot_be(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_features(copper.cells(), FeatureSettings(**given, **copper.GRID))
    for other in ({"by_cost": True}, {"method": "force-correlation"}):
        with pytest.raises(ValueError, match="angular_count"):
            FeatureSettings(angular_count=2, **other)
