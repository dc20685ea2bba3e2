"""Nearsighted force training on several targets, and from members that are trained already."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111

from helpers import copper
from nearsight.errors import InputError
from nearsight.learning.nft import NFT
from nearsight.learning.state import Start, State
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Parent
from nearsight.structures.images import Image, read_images

SHORT = copper.nft(max_chunks=16)


def slab() -> Atoms:
    """A periodic target beside the particle."""
    atoms = fcc111("Cu", (2, 2, 4), a=3.61, vacuum=6.0)
    atoms.rattle(0.1, seed=2)
    return atoms


def run(folder: Path, target: Any, nft: NFT = SHORT, **given: Any) -> State:
    folder.mkdir(exist_ok=True)
    parent = Parent("emt", database=folder / "parent.db")
    return nft.run(
        given.pop("images", copper.cells()), copper.functions(), target, parent, folder, **given
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    folder = tmp_path_factory.mktemp("both")
    return folder, run(folder, [copper.particle(), slab()])


def test_atoms_are_numbered_through() -> None:
    targets = Targets((copper.particle(), slab()))
    assert len(targets) == 55 + 16
    assert [targets.locate(n) for n in (0, 54, 55, 70)] == [(0, 0), (0, 54), (1, 0), (1, 15)]
    assert targets.elements == ("Cu",)
    chunks = targets.extract([60, 3, 57], 4.0, 5.0)
    assert [chunk.info["source_index"] for chunk in chunks] == [5, 3, 2]


def test_no_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no target"):
        run(tmp_path, [])


def test_a_list_of_one_is_the_one(tmp_path: Path) -> None:
    alone, listed = tmp_path / "alone", tmp_path / "listed"
    run(alone, copper.particle())
    run(listed, [copper.particle()])
    assert (alone / "best.json").read_bytes() == (listed / "best.json").read_bytes()


def test_the_most_uncertain_atoms_of_all_make_the_chunks(both: tuple[Path, State]) -> None:
    folder, state = both
    for iteration in state.history:
        assert len(iteration.uncertainty_raw) == len(iteration.forces) == 71
    first = state.history[0]
    expected = np.argsort(-np.array(first.uncertainty_raw), kind="stable")[:8]
    assert first.new_indices == expected.tolist()
    assert {index >= 55 for index in state.history[-1].chunk_indices} == {True, False}
    ensemble = Ensemble.load(folder / "iteration-002" / "ensemble.json")
    for atoms, part in ((copper.particle(), slice(0, 55)), (slab(), slice(55, 71))):
        forces = ensemble.evaluate(atoms).forces
        np.testing.assert_array_equal(np.array(state.history[2].forces)[part], forces)


def test_chunks_of_every_target_carry_the_parents_force(both: tuple[Path, State]) -> None:
    folder, state = both
    images = read_images(folder / "iteration-001" / "chunks.extxyz")
    cut = Targets((copper.particle(), slab())).extract(state.history[0].new_indices, 6.5, 5.0)
    for image, chunk in zip(images, cut, strict=True):
        np.testing.assert_allclose(image.forces[0], copper.emt(chunk)[1][0], atol=1e-8)


def test_both_targets_come_out_well(both: tuple[Path, State]) -> None:
    _, state = both
    true = np.concatenate([copper.emt(copper.particle())[1], copper.emt(slab())[1]])
    errors = [np.linalg.norm(np.array(i.forces) - true, axis=1) for i in state.history]
    assert errors[-1][:55].mean() < errors[0][:55].mean() / 5
    assert errors[-1][55:].max() < errors[0][55:].max() / 3


def test_continues_after_a_stop(both: tuple[Path, State], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(both[0], folder)
    shutil.rmtree(folder / "iteration-002")
    run(folder, [copper.particle(), slab()])
    for name in ("best.json", "iteration-002/ensemble.json"):
        assert (folder / name).read_bytes() == (both[0] / name).read_bytes()


# -- from trained members


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> State:
    return run(tmp_path_factory.mktemp("trained"), copper.particle())


def more() -> list[Image]:
    """Two chunks of another structure, labelled."""
    found = Targets((slab(),)).extract([0, 7], 6.5, 5.0)
    return [Image(chunk, copper.emt(chunk)[1][:1]) for chunk in found]


def go_on(folder: Path, trained: State, **settings: Any) -> State:
    start = Start(trained.ensemble, trained.chunk_images)
    images = [*trained.images, *more()]
    return run(folder, copper.particle(), copper.nft(**settings), images=images, start=start)


def test_a_start_keeps_samples_and_chunks(trained: State, tmp_path: Path) -> None:
    state = go_on(tmp_path, trained, max_chunks=24)
    first, last = state.history[0], state.history[-1]
    known = trained.history[-1].chunk_indices
    assert first.chunk_indices == known
    assert not set(first.new_indices) & set(known)
    assert last.chunk_indices == known + first.new_indices
    assert len(state.images) == len(trained.images) + 2 + 8
    numbers = [state.chunk_images[i] for i in last.chunk_indices]
    assert numbers == [*range(11, 27), *range(29, 37)]  # the two new images lie between
    earlier = trained.multiplicities
    assert trained.ensemble.multiplicities is not None
    # what was drawn stays drawn; atoms that stay uncertain are drawn again
    assert (state.multiplicities[:, : earlier.shape[1]] >= earlier).all()


def test_a_start_goes_on_from_the_weights(trained: State, tmp_path: Path) -> None:
    state = go_on(tmp_path, trained, max_chunks=24)
    assert state.history[0].force_rmse < 3 * trained.history[-1].force_rmse
    assert state.data.scaling.to_dict() == trained.ensemble.scaling.to_dict()
    assert state.started
    assert state.best is min(state.history, key=lambda i: i.structure_uncertainty)


def test_a_start_continues_after_a_stop(trained: State, tmp_path: Path) -> None:
    whole = go_on(tmp_path / "whole", trained, max_chunks=24)
    for _ in range(2):
        again = go_on(tmp_path / "whole", trained, max_chunks=24)
        assert len(again.history) == len(whole.history)
        np.testing.assert_array_equal(again.multiplicities, whole.multiplicities)
        for a, b in zip(again.weights, whole.weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert again.chunk_images == whole.chunk_images


def test_another_start_is_refused(trained: State, tmp_path: Path) -> None:
    go_on(tmp_path, trained, max_chunks=24)
    with pytest.raises(InputError, match="belongs to other"):
        run(tmp_path, copper.particle(), copper.nft(max_chunks=24), images=trained.images)
