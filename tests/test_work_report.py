"""Reports of retraining, relaxations and dynamics in folders of their own."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from helpers import copper
from helpers.report import Page
from helpers.runs import GIVEN, make_workplace, tiny_config, write_given
from nearsight.cli import app
from nearsight.errors import InputError
from nearsight.files.records import Bound, Bounds, DynamicsState, Harvest, Source, Verdict
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import stack
from nearsight.report.work import WorkData, is_work
from nearsight.report.work_page import write_work_report
from nearsight.report.work_verdict import judge_work
from nearsight.run.run import Run
from nearsight.structures.images import read_images


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run ("nft") and, by commands in the folder above it, all that can follow."""
    place = tmp_path_factory.mktemp("al place")  # a name with a space
    write_given(place)
    config = make_workplace(
        place,
        tiny_config(
            GIVEN,
            nft={"max_chunks": 6, "validation_chunks": 4},
            capacity={"hidden_layers": [], "l2": [], "force_decay": []},
        ),
    )
    Run(config, place / "nft").execute()
    frames = [copper.particle(seed) for seed in (5, 6, 7)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.12, seed=number)
    ase.io.write(place / "frames.traj", frames)
    options = "--threshold 0.02 --target-chunks 0 --max-rounds 1"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for line in (
            f"retrain nft --frames frames.traj {options} --chunks 8",
            f"retrain nft --max-steps 3 {options}",
            "md nft particle.extxyz --steps 6 --write-every 2 --threshold 5 --max-extrapolation 9",
            "md nft/best.json particle.extxyz --steps 6 --threshold 1e-5 --workdir alone",
            "relax nft frames.traj@0 -o learned.extxyz --max-steps 3 --max-uncertainty 0.3",
        ):
            result = CliRunner().invoke(app, shlex.split(line))
            # what ended early: nothing there can be learned, or the steps were too few
            ended = 3 if "alone" in line or line.startswith("relax") else 0
            assert result.exit_code == ended, result.output
            (place / f"said-{len(list(place.glob('said-*')))}").write_text(result.output)
    return place


def calibrated(place: Path) -> Ensemble:
    """The ensemble of the run, with a bound that rests on enough."""
    bound = Bound(factor=2.0, factor_95=1.0, labels=100, images=3)
    return replace(Ensemble.load(place / "nft/best.json"), bounds=Bounds(forces=bound))


FOLDERS = ("nft/retrained-frames", "nft/retrained", "md", "alone", "learned")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_command_ends_with_verdict_and_next_command(place: Path, folder: str) -> None:
    said = (place / f"said-{FOLDERS.index(folder)}").read_text()
    verdict = Verdict.load(place / folder / "verdict.json")
    lines = said.rstrip().splitlines()
    assert f"report: {folder}/report.html" in lines
    assert f"{verdict.headline}." in lines
    assert lines[-1].strip() == verdict.next_command(folder)
    page = Page(place / folder)
    assert verdict.headline in page.words
    assert verdict.next_command(Path(folder).name) in page.words


def test_a_relaxation_whose_parent_fails_has_learned_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("SCF did not converge")

    shutil.copytree(place, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(EMT, "calculate", fail)
    unseen = copper.particle(8)
    unseen.rattle(0.12, seed=8)
    unseen.write("unseen.extxyz")
    line = "relax nft unseen.extxyz -o lost.extxyz --max-steps 3 --max-uncertainty 0.3"
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == 3, result.output
    said = " ".join(result.output.split())
    assert "lost/best.json: the ensemble of the run, as it was; learning ended because" in said
    assert "SCF did not converge" in said
    assert "used up" not in said
    assert Ensemble.load(Path("lost/best.json")).digest == Ensemble.load("nft/best.json").digest
    assert shlex.split(result.output.splitlines()[-1]) == ["nearsight", "status", "nft"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_next_command_can_be_typed(
    place: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arguments name what is there, and options are nearsight's."""
    monkeypatch.chdir(place)
    words = shlex.split(Verdict.load(place / folder / "verdict.json").next_command(folder))
    command = words[1 : 3 if words[1] in ("labels", "lammps") else 2]
    known = CliRunner().invoke(app, [*command, "--help"], terminal_width=200).output
    for number, word in enumerate(words):
        if word.startswith("--"):
            assert word in known
        elif number > len(command) and "-o" not in (word, words[number - 1]):
            file, before = word.split("@")[0], words[number - 1]
            if not before.startswith("--") and not file.endswith("-validated.toml"):
                assert Path(file).exists(), words


def test_report_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command for every folder; the same data give the same bytes."""
    monkeypatch.chdir(place)
    for folder in FOLDERS:
        files = ("report.html", "report.json", "verdict.json")
        before = [(place / folder / name).read_bytes() for name in files]
        result = CliRunner().invoke(app, ["report", folder])
        assert result.exit_code == 0, result.output
        assert [(place / folder / name).read_bytes() for name in files] == before
    assert not is_work(Path("nft"))


def test_errors_before_and_after(place: Path) -> None:
    """Of the labels of a round, against EMT itself on the chunks as cut."""
    folder = place / "nft/retrained-frames"
    data = WorkData.load(folder)
    (round_1,) = data.learned
    chunks = read_images(folder / "retraining-01/chunks.extxyz")
    assert (
        round_1.images
        == len(chunks)
        == len(Harvest.load(folder / "retraining-01/harvest.json").chosen)
    )
    for file, found in (("before.json", round_1.before), ("best.json", round_1.after)):
        ensemble, errors = Ensemble.load(folder / file), []
        for chunk in chunks:
            forces = ensemble.evaluate(chunk.atoms).forces
            atoms = chunk.atoms.copy()
            atoms.calc = EMT()
            errors.append(np.linalg.norm(forces - atoms.get_forces(), axis=1)[chunk.force_atoms])
        np.testing.assert_allclose(found, np.concatenate(errors), atol=1e-6)
    content = json.loads((folder / "report.json").read_text())
    assert round_1.before is not None
    assert content["rounds"][0]["error_before"] == pytest.approx(round_1.before.mean())
    assert content["rounds"][0]["error_after"] == pytest.approx(round_1.after.mean())
    assert (
        Ensemble.load(folder / "before.json").digest
        == Ensemble.load(place / "nft/best.json").digest
    )
    words = Page(folder).words
    assert f"{1000 * round_1.before.mean():.3g}" in words


def test_bounds_and_grades_are_those_of_the_frames(place: Path) -> None:
    """Evaluated one by one: of given frames before and after, of dynamics as they were met."""
    folder = place / "nft/retrained-frames"
    data = WorkData.load(folder)
    frames = ase.io.read(place / "frames.traj", ":")
    before = Ensemble.load(folder / "before.json")
    kept = Ensemble.load(folder / "best.json")
    assert data.ensemble is not None
    for ensemble, series in ((before, data.first), (kept, data.series)):
        found = [ensemble.evaluate(atoms) for atoms in frames]
        np.testing.assert_allclose(
            series.uncertainty, [f.uncertainty.max() for f in found], rtol=1e-6
        )
        np.testing.assert_allclose(
            series.extrapolation, [f.extrapolation.max() for f in found], rtol=1e-6
        )
    moved = WorkData.load(place / "md")
    potential = Ensemble.load(place / "nft/best.json")
    found = [potential.evaluate(atoms) for atoms in ase.io.read(place / "md/md.traj", ":")]
    np.testing.assert_allclose(moved.series.uncertainty, [f.uncertainty.max() for f in found])
    np.testing.assert_allclose(moved.series.extrapolation, [f.extrapolation.max() for f in found])


def test_dynamics_that_ended_early_ask_for_the_parent(place: Path) -> None:
    verdict = Verdict.load(place / "alone/verdict.json")
    assert verdict.use != "dynamics"
    assert "its parent labels what is uncertain" in verdict.advice
    assert verdict.next_command("alone").startswith("nearsight md nft alone/md.traj@0 --workdir")
    assert "an ensemble alone has no parent to ask" in Page(place / "alone").words


def test_dynamics_whose_time_was_over_get_more_of_it(place: Path, tmp_path: Path) -> None:
    """As much again would end them at the same step; the seed makes them the same."""
    data = WorkData.load(place / "alone")
    assert data.dynamics is not None
    settings = {**data.dynamics.settings, "max_hours": 0.5}
    ended = {"settings": settings, "ended": "the time of 0.5 h is over"}
    stopped = replace(data, dynamics=data.dynamics.model_copy(update=ended), seed=7)
    command = judge_work(stopped).next_command("d")
    assert command.startswith("nearsight md d/before.json d/md.traj@0 --workdir d-more ")
    assert "--max-hours 1.0" in command
    assert command.endswith("--seed 7")
    shutil.copytree(place / "alone", tmp_path / "alone")
    state = DynamicsState.load(tmp_path / "alone/state.json")
    assert state.settings is not None
    state.model_copy(update={"settings": {**state.settings, "seed": 7}}).save(
        tmp_path / "alone/state.json"
    )
    assert WorkData.load(tmp_path / "alone").seed == 7


def test_frames_of_an_earlier_version_have_raw_uncertainties(place: Path) -> None:
    """They are told as such: the ensemble is calibrated."""
    data = replace(WorkData.load(place / "md"), ensemble=calibrated(place))
    assert data.dynamics is not None
    frames = data.dynamics.frames.model_copy(update={"max_calibrated": None})
    old = replace(data, dynamics=data.dynamics.model_copy(update={"frames": frames}))
    verdict = judge_work(old)
    keys = {finding.key for finding in verdict.findings}
    assert "earlier" in keys
    assert "calibration" not in keys
    assert verdict.largest_bound == pytest.approx(2.0 * old.series.uncertainty.max())
    assert "validated.toml" not in verdict.command


@pytest.mark.parametrize("folder", ["nft/retrained-frames", "md"])
def test_the_copy_is_that_of_the_configuration_of_the_run(place: Path, folder: str) -> None:
    """By names as seen from where the commands were typed; the labels are those of the run."""
    data = WorkData.load(place / folder)
    few = replace(data, ensemble=replace(calibrated(place), bounds=None), iteration=None)
    vars(few)["series"] = type(data.first)(np.full(4, 0.01), True, np.full(4, 0.9))
    found = judge_work(few)
    assert {each.key for each in found.limiting} == {"calibration"}
    assert found.next_command(folder) == "nearsight run nft-validated.toml"
    told = (
        "copy nft.toml to nft-validated.toml, and there set validation_chunks = 3, or more, under "
        '[nft], and database = "nft/parent.db" under [parent]'
    )
    assert told in found.next_step(folder)
    assert (place / "nft.toml").exists()


@pytest.mark.parametrize("members", [1, 2])
def test_an_imported_potential_has_no_run_and_no_bounds(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: int
) -> None:
    """What one member does not tell is no zero, and what was not calibrated no bound."""
    monkeypatch.chdir(tmp_path)
    known = Ensemble.load(place / "nft/best.json")
    networks = stack(known.members[:members])
    origin = {"imported": {"format": "n2p2"}}
    Ensemble(known.functions, known.scaling, networks, provenance=origin).save("imported.json")
    ase.io.write("particle.xyz", ase.io.read(place / "particle.extxyz"))

    def said(line: str) -> str:
        result = CliRunner().invoke(app, shlex.split(line), terminal_width=200)
        assert result.exit_code in (0, 3), result.output  # 3: ended early
        return result.stdout

    row = said("evaluate imported.json particle.xyz").splitlines()[-1].split()
    *_, raw, bound, grade = row
    assert (raw == "–", bound, grade) == (members == 1, "–", "–")
    assert ("uncertainty (raw)" in said("relax imported.json particle.xyz")) == (members > 1)
    assert "none: it was never compared" in said("info imported.json")
    ends = "raw uncertainty is above" in said("lammps input imported.json particle.xyz")
    assert ends == (members > 1)
    told = said("md imported.json particle.xyz --steps 4 --threshold 100")
    assert told.splitlines()[-1] == "  nearsight evaluate md/before.json LABELLED.xyz"
    assert ".toml" not in told
    content = json.loads(Path("md/report.json").read_text())
    assert content["uncertainty"].pop("stated") is False
    assert all((each is None) == (members == 1) for each in content["uncertainty"].values())
    words = Page(Path("md")).words
    assert ("meV/Å raw" in words) == (members > 1)
    assert ("are trusted" in words) == (members > 1)


def test_report_of_where_one_is(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By "." and "..", and by the ensemble; what is proposed is beside the folder."""
    shutil.copytree(place / "md", tmp_path / "md")
    (tmp_path / "md/sub").mkdir()
    for inside, folder, beside in (
        ("md", ".", "../md-"),
        ("md/sub", "..", "../../md-"),
        (".", "md/best.json", "md-"),
    ):
        Ensemble.load(place / "nft/best.json").save(tmp_path / "md/best.json")
        monkeypatch.chdir(tmp_path / inside)
        result = CliRunner().invoke(app, ["report", folder])
        assert result.exit_code == 0, result.output
        words = shlex.split(result.stdout.splitlines()[-1])
        assert words[words.index("--workdir") + 1].startswith(beside)
    (tmp_path / "relaxed.extxyz").touch()
    learned_nothing = "no such folder; a relaxation makes one where it has something to learn"
    result = CliRunner().invoke(app, ["report", "relaxed"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"relaxed: {learned_nothing}, and has not. nearsight evaluate ")
    for wrong, sentence in (("nowhere", "no such folder"), ("md.traj", "must be a folder")):
        monkeypatch.chdir(tmp_path / "md")
        result = CliRunner().invoke(app, ["report", wrong])
        assert result.exit_code == 2
        assert result.stderr.startswith(f"{wrong}: {sentence}, that of a run, or of retrain")


def test_what_each_figure_allows(place: Path) -> None:
    """The limits are parts of the typical force; of the frames outside, parts of the frames."""
    data = WorkData.load(place / "md")

    def use(factor: float, outside: int, n: int = 20) -> str:
        grades = np.r_[np.full(outside, 1.2), np.full(n - outside, 0.9)]
        changed = type(data.first)(np.full(n, factor * data.typical), True, grades)
        made = replace(data, ensemble=known)
        vars(made)["series"] = changed
        found = {f.key: f.allows for f in judge_work(made).findings}
        return f"{found['bound']} {found['outside']}"

    known = calibrated(place)
    assert use(0.29, 1) == "dynamics dynamics"
    assert use(0.31, 2) == "relaxation relaxation"
    assert use(0.61, 5) == "forces forces"
    assert use(1.1, 11) == "none none"


def test_dynamics_that_used_no_budget_up_are_to_ask_sooner(place: Path) -> None:
    """Done, and not known well enough: more rounds would repeat them to the last bit."""
    data = WorkData.load(place / "md")
    unsure = replace(data, ensemble=calibrated(place))
    vars(unsure)["series"] = type(data.first)(np.full(4, 10.0), True, np.full(4, 0.9))
    verdict = judge_work(unsure)
    assert {finding.key for finding in verdict.findings if finding.allows == "none"} >= {"bound"}
    assert verdict.advice.startswith("the same with a lower threshold")
    assert verdict.next_command("md").endswith("--threshold 2.5 --max-extrapolation 9.0")
    outside = replace(data, ensemble=calibrated(place))
    vars(outside)["series"] = type(data.first)(np.full(4, 0.01), True, np.full(4, 1.4))
    verdict = judge_work(outside)
    assert {each.key for each in verdict.limiting} == {"outside"}
    assert verdict.advice.startswith("the same with a lower grade of extrapolation")
    assert verdict.next_command("md").endswith("--threshold 5.0 --max-extrapolation 4.5")


def test_a_relaxation_whose_steps_were_too_few_goes_on(place: Path) -> None:
    data = WorkData.load(place / "nft/retrained")
    known = replace(data, ensemble=calibrated(place))
    calm = type(data.first)(np.full(4, 0.01), True, np.full(4, 0.9))
    vars(known)["series"] = calm
    found = judge_work(known)
    assert {each.key for each in found.limiting} == {"convergence"}
    command = "nearsight relax r/best.json r/retraining-01/path.traj@-1 -o r-relaxed.extxyz"
    assert found.next_command("r") == command


def test_not_finished(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    assert is_work(tmp_path)
    with pytest.raises(InputError, match="not finished yet; the command that began it"):
        write_work_report(tmp_path)


def test_a_folder_of_an_earlier_version(place: Path, tmp_path: Path) -> None:
    """Without the ensemble before it, and without knowing where it came from."""
    folder = tmp_path / "old"
    shutil.copytree(place / "nft/retrained-frames", folder)
    for name in ("before.json", Source.FILE):
        (folder / name).unlink()
    write_work_report(folder)
    content = json.loads((folder / "report.json").read_text())
    assert content["command"] is None
    assert content["rounds"][0]["error_before"] is None
    assert "FOLDER" in content["verdict"]["command"] or content["verdict"]["use"] == "dynamics"
