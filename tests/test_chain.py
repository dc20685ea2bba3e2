"""What follows from an ensemble belongs to it; what is deleted or damaged is made again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import pytest

from helpers.recorder import Recorder
from helpers.runs import GIVEN, files, make_workplace, read, tiny_config, without_times, write_given
from nearsight.config import Config
from nearsight.errors import DamagedFileError
from nearsight.files.records import RoundRecord
from nearsight.model.ensemble import Ensemble
from nearsight.run.run import Run
from nearsight.simulation.relaxation import relax

pytestmark = pytest.mark.slow

CONFIG = tiny_config(
    GIVEN,
    relaxation={"max_steps": 3},
    retraining={"max_rounds": 1, "chunks": 2, "threshold": 1e-3, "window": 1e4},
    dynamics={"steps": 6, "write_every": 2, "watch_every": 2, "max_rounds": 1},
)
OF_TIME = {"parent.db", "run.lock", "run.log", "status.json", "report.html", "run.json",
           "report.json", "stages.json"}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("finished")
    write_given(place)
    Run(make_workplace(place, CONFIG), place / "nft").execute()
    return place


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("nearsight.run.run.write_report", lambda folder: None)
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def content(path: Path) -> Any:
    return without_times(read(path)) if path.suffix == ".json" else path.read_bytes()


def check(place: Path, finished: Path) -> list[str]:
    """Carry the run out again: it asks for nothing and ends as before; its notes."""
    said = Recorder()
    run = Run(Config.load(place / "nft.toml"), place / "nft", said)
    run.execute()
    assert run.parent.calculations == 0
    assert files(place / "nft") == files(finished / "nft")
    for name in files(finished / "nft") - OF_TIME:
        if not name.startswith("figures/"):
            assert content(place / "nft" / name) == content(finished / "nft" / name), name
    return said.notes


def change_a_digit(path: Path) -> None:
    """Of a weight."""
    text = path.read_text()
    start = text.index('"weights"')
    found = re.compile(r"\d\.\d*?([1-8])\d*,").search(text, start)
    assert found is not None
    place = found.start(1)
    path.write_text(f"{text[:place]}{int(text[place]) + 1}{text[place + 1 :]}")


@pytest.mark.parametrize("gone", ["dynamics", "retraining-01", "relaxation.json", "iteration-001"])
def test_what_is_deleted_is_made_again(copied: Path, finished: Path, gone: str) -> None:
    place = copied / "nft" / gone
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    if gone == "retraining-01":
        (copied / "nft" / "retraining.json").unlink()
    check(copied, finished)


@pytest.mark.parametrize(
    "name",
    ["dynamics/state.json", "dynamics/md.traj", "retraining-00/path.json",
     "retraining-01/path.json", "retraining-01/path.traj", "retraining-01/harvest.json"],
)  # fmt: skip
def test_what_is_damaged_is_made_again(copied: Path, finished: Path, name: str) -> None:
    path = copied / "nft" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    stage = "dynamics/dynamics.json" if name.startswith("dynamics") else "retraining.json"
    (copied / "nft" / stage).unlink()
    check(copied, finished)


def replace_a_byte(path: Path) -> None:
    """The last one but some: of a number in a trajectory, of the last line of a text."""
    whole = bytearray(path.read_bytes())
    place = len(whole) - 10 if path.suffix != ".traj" else 200
    whole[place] ^= 1
    path.write_bytes(whole)


def move_an_atom(path: Path) -> None:
    """In a file that is as whole as before: of the last structure in it."""
    frames = ase.io.read(path, ":")
    frames[-1].positions[3] += 0.01
    ase.io.write(path, frames)


@pytest.mark.parametrize("damage", [replace_a_byte, move_an_atom, Path.unlink])
def test_every_file_of_a_stage_is_as_the_stage_left_it(
    copied: Path, finished: Path, damage: Callable[[Path], None]
) -> None:
    folder = copied / "nft"
    names = ["relaxed.extxyz", "relaxation.traj", "retrained.extxyz", "retraining-00/path.traj",
             "retraining-01/frames.traj", "retraining-01/chunks.extxyz", "dynamics/md.traj",
             "iteration-001/chunks.extxyz"]  # fmt: skip
    if damage is not move_an_atom:
        names += ["retraining-01/best.json", "retraining-01/iteration-000/ensemble.json",
                  "dynamics/md.log", "dynamics/best.json",
                  *(name for name in files(folder) if re.match("dynamics/retraining-01/h", name))
                  ]  # fmt: skip
    for name in names:
        if (folder / name).exists():
            damage(folder / name)
    notes = "\n".join(check(copied, finished))
    for name in names:
        if (finished / "nft" / name).exists():
            assert re.search(rf"{name}(: damaged| was changed| is missing)", notes), name


def test_a_run_of_an_earlier_version_has_its_checksums_from_now_on(
    copied: Path, finished: Path
) -> None:
    path = copied / "nft" / "stages.json"
    stages = {**read(path), "digest": None}
    for stage in stages["stages"].values():
        stage.pop("others", None)
    path.write_text(json.dumps(stages))
    check(copied, finished)
    assert without_times(read(path)) == without_times(read(finished / "nft" / "stages.json"))


@pytest.mark.parametrize(
    ("name", "stage"),
    [("retraining-00/path.traj", "Retraining"), ("retraining-01/frames.traj", "Retraining"),
     ("dynamics/md.traj", "Dynamics")],
)  # fmt: skip
def test_an_unfinished_stage_goes_on_from_no_other_frames(
    copied: Path, finished: Path, name: str, stage: str
) -> None:
    path = copied / "nft" / "stages.json"
    stages = {**read(path), "digest": None}
    del stages["stages"][stage]
    path.write_text(json.dumps(stages))
    move_an_atom(copied / "nft" / name)
    check(copied, finished)


def test_an_atom_that_leaves_in_the_relaxation_is_named(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaving(*arguments: Any) -> Any:
        result = relax(*arguments)
        result.atoms.positions[0] += 100.0
        return result

    monkeypatch.setattr("nearsight.learning.paths.Relaxations.made", lambda *_: None)
    monkeypatch.setattr("nearsight.run.follow_up.relax", leaving)
    (copied / "nft" / "relaxation.json").unlink()
    said = Recorder()
    Run(Config.load(copied / "nft.toml"), copied / "nft", said).execute()
    assert any(
        note.startswith("no neighbour within the cutoff of atom 0 at") for note in said.notes
    )


def test_a_changed_weight_is_named_and_its_iteration_repeated(copied: Path, finished: Path) -> None:
    change_a_digit(copied / "nft" / "iteration-001" / "ensemble.json")
    notes = check(copied, finished)
    assert any("its digest is that of another content; repeating iteration 1" in n for n in notes)


def test_an_ensemble_of_another_iteration_is_named(copied: Path, finished: Path) -> None:
    folder = copied / "nft"
    before = read(folder / "iteration-001" / "ensemble.json")
    other = Ensemble.load(folder / "retraining-01" / "iteration-000" / "ensemble.json")
    mixed = Ensemble(
        other.functions,
        other.scaling,
        other.networks,
        other.calibration,
        Ensemble.load(folder / "iteration-001" / "ensemble.json").multiplicities,
        before["provenance"],
    )
    mixed.save(folder / "iteration-001" / "ensemble.json")
    notes = check(copied, finished)
    assert any("belongs to another ensemble.json; repeating iteration 1" in n for n in notes)


@pytest.mark.parametrize("stage", ["Relaxation", "Retraining", "Dynamics"])
def test_a_stage_of_another_ensemble_is_made_again(
    copied: Path, finished: Path, stage: str
) -> None:
    path = copied / "nft" / "stages.json"
    stages = {**read(path), "digest": None}
    stages["stages"][stage] |= {"follows": "0" * 64, "sha256": "0" * 64}
    path.write_text(json.dumps(stages))
    if stage == "Retraining":  # as where training went on
        first = copied / "nft" / "retraining-00" / RoundRecord.FILE
        RoundRecord.load(first).model_copy(update={"inputs": "1" * 64}).save(first)
    notes = check(copied, finished)
    assert any("follows from another ensemble; making it again" in note for note in notes)


def test_a_potential_file_is_whole_or_refused(copied: Path, tmp_path: Path) -> None:
    path = copied / "nft" / "best.json"
    whole = read(path)
    change_a_digit(path)
    with pytest.raises(DamagedFileError, match=r"best\.json: changed or damaged: its digest"):
        Ensemble.load(path)
    # files of earlier versions have none
    del whole["digest"]
    path.write_text(json.dumps(whole))
    Ensemble.load(path).save(path)
    assert read(path)["digest"] == Ensemble.load(path).digest
