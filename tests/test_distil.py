"""``nearsight distil``: what it writes, that it runs and goes on, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ase.io
import pytest

from helpers import copper
from helpers.cli import Run, run_command
from helpers.runs import make_workplace, read, tiny_config
from nearsight.config import Config
from nearsight.errors import InputError
from nearsight.run.run import Run as WholeRun


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder with a particle."""
    monkeypatch.chdir(tmp_path)
    ase.io.write(tmp_path / "particle.xyz", copper.particle())
    return run_command


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that would have been carried out."""
    found: list[Config] = []
    monkeypatch.setattr(WholeRun, "execute", lambda self: found.append(self.config))
    return found


def test_it_writes_a_configuration_and_runs_it(
    run: Run, carried_out: list[Config], tmp_path: Path
) -> None:
    command = (
        "distil", "particle.xyz", "--parent", "emt", "--temperature", "450", "--max-geometries",
        "7", "--accuracy", "0.05", "--seed", "3", "--workdir", "small",
    )  # fmt: skip
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "small/best.json" in out
    assert "at most 7 geometries and 3 to validate" in out
    (config,) = carried_out
    assert config.model_dump() == Config.load(tmp_path / "small.toml").model_dump()
    assert config.nft.labels == "target"
    assert config.nft.accuracy == 0.05
    assert config.seed == 3
    assert (config.geometries.temperature, config.geometries.max_geometries) == (450.0, 7)
    assert config.report.true_forces
    assert (tmp_path / "small" / "target.extxyz").exists()
    # the same command continues; what was changed in the file stays
    assert run(*command)[0] == 0
    assert len(carried_out) == 2


def test_defaults(run: Run, carried_out: list[Config], tmp_path: Path) -> None:
    assert run("distil", "particle.xyz", "--parent", "emt")[0] == 0
    assert (tmp_path / "distil-particle.toml").exists()
    assert (tmp_path / "distil-particle").is_dir()
    text = (tmp_path / "distil-particle.toml").read_text()
    assert re.search(r'^labels = "target"$', text, re.MULTILINE)
    assert run("run", "distil-particle.toml")[0] == 0
    assert carried_out[0].model_dump() == carried_out[1].model_dump()


MISTAKES = {
    "temperature": (["--temperature", "-5"], "--temperature must be greater than 0"),
    "budget": (["--max-geometries", "0"], "--max-geometries must be at least 1"),
    "parent": (["--parent", "nowhere:Nothing"], "nowhere"),
    "folder": (["--workdir", "particle.xyz"], "must be a folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(
    run: Run, carried_out: list[Config], tmp_path: Path, mistake: str
) -> None:
    options, sentence = MISTAKES[mistake]
    code, out, err = run("distil", "particle.xyz", *options)
    assert code != 0
    assert (out, carried_out) == ("", [])
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("*.toml"))


def test_no_target(run: Run) -> None:
    code, _, err = run("distil", "nowhere.xyz")
    assert code != 0
    assert err.strip() == "nowhere.xyz: no such file"


def test_another_configuration_is_not_overwritten(
    run: Run, carried_out: list[Config], tmp_path: Path
) -> None:
    assert run("distil", "particle.xyz")[0] == 0
    before = (tmp_path / "distil-particle.toml").read_text()
    code, _, err = run("distil", "particle.xyz", "--temperature", "900")
    assert code != 0
    assert "exists already, with other settings" in err
    assert (tmp_path / "distil-particle.toml").read_text() == before
    assert len(carried_out) == 1


# -- a whole run, in its folder


SMALL: dict[str, Any] = {
    "nft": {"labels": "target"},
    "geometries": {
        "first": 2, "per_iteration": 1, "max_geometries": 3, "validation": 1, "steps": 10,
        "temperature": 300.0,
    },
    "training": {"initial_iterations": 15, "iterations": 8, "l2": 1e-6},
    "features": {"count": 12},
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("small")
    config = make_workplace(place, tiny_config(**SMALL))
    WholeRun(config, place / "nft").execute()
    return place


def test_status_counts_geometries(finished: Path) -> None:
    code, out, _ = run_command("status", str(finished / "nft"))
    assert code == 0
    assert "3 of at most 3 geometries" in out
    assert "chunks" not in out


def test_report_has_errors_where_it_was_not_trained(finished: Path) -> None:
    page = (finished / "nft" / "report.html").read_text()
    assert "trained with 3 geometries of the target" in page
    assert "validation geometries, never trained on" in page
    report = read(finished / "nft" / "report.json")
    assert report["iterations"][-1]["validation_error"] > 0
    assert report["iterations"][-1]["mae_test"] is None  # all of the target is in the training
    assert report["cost"]["chunks"] == 3.0


def test_a_lost_database_is_noticed(finished: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"
    config = make_workplace(tmp_path, tiny_config(**SMALL))
    WholeRun(config, place).execute()
    (place / "parent.db").unlink()
    with pytest.raises(InputError, match="is missing, though finished work"):
        WholeRun(config, place).execute()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"nft": {"labels": "chunk"}}, "nft.labels"),
        ({"geometries": {**SMALL["geometries"], "temperature": 400.0}}, "geometries.temperature"),
        ({"geometries": {**SMALL["geometries"], "max_geometries": 2}}, "geometries.max_geometries"),
    ],
)
def test_what_cannot_change_in_a_folder(finished: Path, change: dict[str, Any], key: str) -> None:
    text = tiny_config(**{**SMALL, **change})
    config = Config.parse(text, "other", finished)
    with pytest.raises(InputError, match=f"belongs to another configuration .{key} was"):
        WholeRun(config, finished / "nft")


def test_more_geometries_go_on(finished: Path) -> None:
    geometries = {**SMALL["geometries"], "max_geometries": 9}
    given = Config.parse(tiny_config(**{**SMALL, "geometries": geometries}), "more", finished)
    before = Config.parse(tiny_config(**SMALL), "before", finished)
    assert before.differences(given) == []
