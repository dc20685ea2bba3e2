"""A run's folder holds all it takes to go on: elsewhere, and without the files it was made of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ase.io
import pytest

from helpers import copper
from helpers.cli import run_command
from helpers.runs import GIVEN, make_workplace, tiny_config, write_given


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with a finished run. Not to be changed."""
    place = tmp_path_factory.mktemp("ended")
    write_given(place)
    make_workplace(place, tiny_config(GIVEN))
    assert run_command("run", place / "nft.toml").code == 0
    return place


@pytest.fixture
def begun(ended: Path, tmp_path: Path) -> Path:
    """The folder of that run elsewhere, with nothing beside it, without its last iteration."""
    shutil.copytree(ended / "nft", tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "iteration-001")
    return tmp_path / "moved"


def assert_ended_like(folder: Path, ended: Path) -> None:
    assert (folder / "best.json").read_bytes() == (ended / "nft" / "best.json").read_bytes()
    evaluation = json.loads((folder / "iteration-001" / "evaluation.json").read_text())
    assert evaluation["stop_reason"]


def test_a_folder_that_was_moved_goes_on(begun: Path, ended: Path) -> None:
    code, _, err = run_command("run", begun)
    assert code == 0, err
    assert_ended_like(begun, ended)


def test_a_file_of_the_same_name_elsewhere_is_another_matter(begun: Path, ended: Path) -> None:
    ase.io.write(begun.parent / "particle.extxyz", copper.particle(9))
    code, _, err = run_command("run", begun / "config.toml")
    assert code == 0, err
    assert_ended_like(begun, ended)


def test_the_files_it_was_made_of_may_be_deleted(begun: Path, ended: Path) -> None:
    begun.rename(begun.with_name("nft"))
    place = begun.parent
    shutil.copy(ended / "nft.toml", place)
    code, _, err = run_command("run", place / "nft.toml")
    assert code == 0, err
    assert_ended_like(place / "nft", ended)
    # what the configuration asks for is still compared
    text = (place / "nft.toml").read_text()
    (place / "nft.toml").write_text(text.replace("particle.extxyz", "other.extxyz"))
    code, _, err = run_command("run", place / "nft.toml")
    assert code == 2
    assert "target.structure was" in err.splitlines()[-1]


def test_a_missing_file_is_a_mistake_before_anything_is_done(ended: Path, tmp_path: Path) -> None:
    shutil.copy(ended / "nft.toml", tmp_path)
    code, _, err = run_command("run", tmp_path / "nft.toml")
    assert code == 2
    assert "must be an existing file" in err
    assert not (tmp_path / "nft").exists()


@pytest.mark.parametrize("name", ["moved", "moved/best.json", "moved/config.toml"])
def test_work_with_a_finished_run_needs_its_folder_only(
    ended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(ended / "nft", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    ase.io.write("frames.traj", [copper.particle(4), copper.particle(5)])
    for arguments in (
        ("status", name),
        ("report", name),
        ("evaluate", name, "moved/target.extxyz"),
        ("relax", name, "moved/target.extxyz", "--max-steps", "1", "--on-uncertain", "warn"),
        ("retrain", name, "--frames", "frames.traj", "--max-rounds", "1", "--target-chunks", "0"),
        ("labels", "list", name),
        ("info", name),
    ):
        code, _, err = run_command(*arguments)
        assert code == (3 if "relax" in arguments else 0), (arguments, err)  # one step, too few
    assert Path("moved/retrained-frames/best.json").is_file()
