"""Files of a run as records: the same bytes read and written, and one sentence for damaged ones."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.records import make_iteration
from nearsight.errors import DamagedFileError, InputError
from nearsight.files import records
from nearsight.files.atomic import read_json
from nearsight.files.names import evaluation_files, iteration_folder, numbered, round_folder
from nearsight.files.records import (
    ForceLocality,
    Iteration,
    Record,
    RetrainingRecord,
    RunRecord,
    best_iteration,
    best_of,
)

KINDS = {
    each.FORMAT: each
    for each in vars(records).values()
    if isinstance(each, type) and issubclass(each, Record) and hasattr(each, "FORMAT")
}
PATH = {"energies": [1.5, 1.25], "fmax": [0.5, 0.04], "converged": True}
ENSEMBLE = {**PATH, "max_uncertainty": [0.1, 0.30000000000000004], "mean_uncertainty": [0.05, 0.1]}
HARVEST = {"low": 0.05, "high": 0.1, "frames": 9, "kept": 4, "beyond": 1, "candidates": 12}
STAGE = {"name": "Initial cells", "seconds": 4.5, "summary": "33 cells"}
MODEL = {"hidden_layers": [5, 4], "l2": 1e-06, "force_decay": None, "cutoff": None}
ROUND = {"step": 10, "reason": "uncertain", **HARVEST, "chosen": 3, "deviation": 0.01}

FUNCTIONS = {
    "cutoff": {"radius": 6.5, "function": "cosine", "gamma": 4.0},
    "functions": {
        "Cu": [
            {"type": "G2", "element": "Cu", "eta": 0.5, "r_s": 2.0},
            {"type": "G4", "elements": ["Cu", "Cu"], "eta": 0.1, "zeta": 4.0, "gamma": -1.0},
        ]
    },
}

# the keys in the order in which version 1 of each file holds them
BOUND = {
    "factor": 1.5,
    "factor_95": 0.75,
    "floor": 0.125,
    "labels": 120,
    "images": 3,
}
EXPECTED = {
    "mean": 0.03,
    "low": 0.02,
    "high": 0.04,
    "forces": 120,
    "images": 3,
    "source": "validation",
    "typical": 1.5,
}
SAMPLES: dict[str, dict[str, Any]] = {
    "begun": {"key": "sha256-0a1b", "times": 1, "mark": "5"},
    "evaluation": {
        "iteration": 1,
        "chunk_indices": [1, 0],
        "failed_indices": [],
        "new_indices": [2],
        "again_indices": [1],
        "stop_reason": "",
        "uncertainty_raw": [0.1, 0.2, 1e-09],
        "uncertainty": [0.15, 0.3, 1.5e-09],
        "extrapolation": [0.2, 1.7, 0.9],
        "forces": [[1.0, 0.0, -0.1], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]],
        "calibration": 1.5,
        "energy_rmse": 0.0004,
        "force_rmse": 0.002,
        "max_force_residual": 0.009,
        "member_force_rmse": [0.002, 0.003],
        "validation_error": 0.03,
        "expected": EXPECTED,
        "bounds": {"forces": BOUND, "energy": None, "virial": BOUND},
        "model": MODEL,
        "candidates": [
            {"model": MODEL, "error": 0.031},
            {"model": MODEL | {"force_decay": 2.5}, "error": 0.04},
        ],
        "shells": [
            {"distance": 0.0, "forces": 2, "error": 0.01},
            {"distance": 1.5, "forces": 20, "error": 0.02},
        ],
        "seconds": 2.5,
        "ensemble": "0a1b",
        "previous": "1b2c",
    },
    "stages": {
        "stages": {
            "Initial cells": {**STAGE, "file": "initial.extxyz", "sha256": "0a1b"},
            "Nearsighted force training": {**STAGE, "name": "Nearsighted force training"},
        }
    },
    "calculation": {
        "key": "sha256-0",
        "structure": {"numbers": [29, 29], "positions": [[0.0, 0.0, 0.0], [2.5, 0.0, 0.0]]},
        "data": {"settings": {"calculator": "emt", "arguments": {}}},
        "notes": {"role": "cell"},
        "energy": 1.5,
        "forces": [[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]],
        "seconds": 2.5,
        "digest": "ece23d0cf43ec7e945793d986177bed36012d51600a958ebddfd1dcbcbf6b71c",
    },
    "failures": {
        "structures": {
            "sha256-0": {"structure": "Cu4", "failed": ["a", "b"], "lost": [], "given_up": True}
        }
    },
    "status": {
        "began": "2026-05-01T10:20:30.123456Z",
        "updated": "2026-05-01T12:20:30+02:00",
        "host": "node1",
        "process": 42,
        "stage": "Training",
        "detail": "",
        "stage_began": None,
        "step": [1, None, "members"],
        "calculations": {"waiting": 1, "running": 2, "done": 3, "failed": 0, "seconds": 4.5},
        "structures": "chunks",
        "chunks": 0,
        "chunk_seconds": 0.0,
        "ended": False,
        "error": "",
    },
    "locality": {
        "radii": [4.0, 6.5],
        "indices": [7],
        "n_atoms": [[12], [54]],
        "forces": [[[0.1, 0.2, 0.3]], [[None, None, None]]],
        "true_forces": [[0.1, 0.2, 0.25]],
    },
    "verdict": {
        "use": "forces",
        "findings": [
            {"key": "error", "allows": "forces", "value": 0.01, "sentence": "it is 10 meV/Å"},
            {"key": "outside", "allows": "dynamics", "value": 0.0, "sentence": "none"},
        ],
        "expected": EXPECTED,
        "true_error": None,
        "test_error": None,
        "bound": BOUND,
        "largest_bound": 0.3,
        "outside": 0,
        "advice": "train on more: {run}.toml",
        "command": "nearsight run {run}",
    },
    "comparison": {
        "ensemble": "0a1b",
        "role": [0, 1, 2],
        "image": [0, 1, 1],
        "labels": [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]],
        "forces": [[1.0, 0.0, 0.5], [0.0, 2.0, 0.25], [0.0, 0.0, 3.0]],
        "uncertainty": [1.0, 1.0, 1.0],
        "uncertainty_95": [0.5, 0.125, 0.5],
    },
    "relaxation": {
        "optimizer": "BFGS",
        "fmax": 0.05,
        "ensemble": ENSEMBLE,
        "parent": PATH,
        "parent_fmax_at_minimum": None,
    },
    "path": {
        "inputs": "0a1b",
        "round": {"paths": [{**ENSEMBLE, "broken": ""}], "largest_uncertainty": None},
    },
    "retraining": {
        "settings": {"threshold": None, "window": 1.5},
        "fmax": 0.05,
        "rounds": [
            {"paths": [{**ENSEMBLE, "broken": ""}], "largest_uncertainty": 0.3},
            {
                "harvest": {**HARVEST, "chosen": 3, "deviation": 0.01},
                "paths": [{**ENSEMBLE, "broken": "atoms overlap"}],
                "largest_uncertainty": None,
            },
        ],
        "best": 0,
        "stop_reason": "max_rounds = 1 is reached",
    },
    "harvest": {**HARVEST, "chosen": [[0, 3], [1, 7]], "deviation": 0.01, "numbers": [4, 8]},
    "dynamics": {
        "settings": {
            "conditions": "NVT",
            "temperature": 300.0,
            "final_temperature": None,
            "timestep": 2.0,
            "steps": 20,
        },
        "n_atoms": 32,
        "threshold": 0.1,
        "window": 1.5,
        "ended": "all 20 steps are done",
        "seconds": 3.5,
        "frames": {
            "time": [0.0, 0.01],
            "temperature": [300.0, 310.0],
            "potential_energy": [1.0, 1.5],
            "kinetic_energy": [0.5, 0.25],
            "max_uncertainty": [0.05, 0.06],
            "mean_uncertainty": [0.01, 0.02],
        },
        "rounds": [ROUND],
    },
    "dynamics-state": {
        "inputs": "0a1b",
        "threshold": 0.1,
        "step": 10,
        "frames": 3,
        "learned_at": 2,
        "rounds": [{**ROUND, "high": None}],
        "seconds": 1.25,
        "ended": "",
        "integrator": {"random": {"state": 187510068834496194391081192207011201581}},
    },
    "lammps-state": {
        "inputs": "0a1b",
        "threshold": 0.1,
        "step": 10,
        "frames": 3,
        "learned_at": 2,
        "rounds": [{**ROUND, "high": None}],
        "seconds": 1.25,
        "ended": "",
        "sha256": "2c3d",
        "mark": "5c6d",
        "segments": 2,
    },
    "reference": {"energies": [1.5], "forces": [[1.0, 0.0, -0.1]]},
    "source": {"command": "lammps md", "path": "../run", "learns": True},
    "symmetry-functions": {**FUNCTIONS, "notes": {"method": "cur"}},
    "ensemble": {
        "units": {"energy": "eV", "length": "Å"},
        "elements": ["Cu"],
        "provenance": {"seed": 3, "parent": None},
        "calibration": 1.5,
        "symmetry_functions": FUNCTIONS,
        "scaling": {"Cu": {"minimum": [0.0, 1.0], "maximum": [2.0, 1.5]}},
        "multiplicities": [[1, 0, 2]],
        "members": [
            {
                "Cu": {
                    "slope": 1.0,
                    "intercept": -3.25,
                    "layers": [
                        {"activation": "linear", "weights": [[0.5, -1e-09]], "bias": [0.25]}
                    ],
                }
            }
        ],
    },
    "run": {
        "seed": 7,
        "parent": {"calculator": "emt", "arguments": {"asap_cutoff": False}},
        "target": {"n_atoms": 3, "formula": "Cu, Pt2"},
        "targets": [{"n_atoms": 1, "formula": "Cu"}, {"n_atoms": 2, "formula": "Pt2"}],
        "best_iteration": 1,
        "stop_reason": "there are 2 chunks",
        "seconds_total": 9.5,
        "stages": [{**STAGE, "file": "initial.extxyz", "sha256": "0a1b"}, STAGE],
        "chunk_radius": 6.5,
        "initial": {"cells": 33, "selected": 20, "counts": {"2": 6, "32": 14}},
        "parent_calculations": 42,
        "seconds_parent": 5.5,
        "parent_cores": 2,
        "failures": [{"structure": "Cu4", "reasons": ["a", "b"]}],
        "versions": {"python": "3.11.7"},
        "features": {"method": "cur", "candidates": 78, "selected": 8, "deviation": 0.012},
        "cost": {"chunks": 0.5, "validation": 0.25, "initial": 0.0625, "exponent": 3.0},
    },
}


def written(kind: str, folder: Path, content: Any = None, indent: int | None = 1) -> Path:
    """A file of that kind, as version 1 is."""
    header = {"format": f"nearsight-{kind}", "version": 1}
    path = folder / "file.json"
    path.write_text(json.dumps({**header, **(content or SAMPLES[kind])}, indent=indent) + "\n")
    return path


def load(path: Path) -> Record:
    return KINDS[json.loads(path.read_text())["format"]].load(path)


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(KINDS) == {f"nearsight-{kind}" for kind in SAMPLES}
    assert len({each.FILE for each in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize("kind", SAMPLES)
def test_read_and_written_again_it_has_the_same_bytes(kind: str, tmp_path: Path) -> None:
    path = written(kind, tmp_path)
    record = load(path)
    record.save(tmp_path / "again.json")
    content = json.loads((tmp_path / "again.json").read_text())
    if kind in DIGESTED:
        del content["digest"]
    assert json.dumps(content, indent=1) + "\n" == path.read_text()
    assert load(tmp_path / "again.json") == record
    assert not list(tmp_path.glob(".*"))


DIGESTED = (
    "evaluation", "stages", "failures", "path", "harvest", "dynamics-state", "lammps-state"
)  # fmt: skip


@pytest.mark.parametrize("kind", DIGESTED)
def test_a_file_that_no_checksum_covers_has_a_digest(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "again.json"
    load(written(kind, tmp_path)).save(path)
    content = json.loads(path.read_text())
    digest = content.pop("digest")
    text = json.dumps(content, sort_keys=True)
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    # any other value, of the right kind or not
    for key, value in content.items():
        if key in ("format", "version") or not value:
            continue
        if isinstance(value, dict):
            changed = {**value, "another": value[next(iter(value))]}
        else:
            changed = value + 1 if isinstance(value, int | float) else value * 2
        path.write_text(json.dumps({**content, key: changed, "digest": digest}))
        with pytest.raises(DamagedFileError, match="its digest is that of another content"):
            load(path)


@pytest.mark.parametrize("left_out", [{"features"}, {"cost"}, {"features", "cost"}])
def test_keys_that_may_be_left_out(left_out: set[str], tmp_path: Path) -> None:
    content = {key: value for key, value in SAMPLES["run"].items() if key not in left_out}
    path = written("run", tmp_path, content)
    load(path).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_an_evaluation_of_an_earlier_version(tmp_path: Path) -> None:
    """Without larger chunks and models: the uncertainty says which iteration is the best."""
    later = ("extrapolation", "ensemble", "previous")
    new = ("validation_error", "model", "candidates", "shells", *later)
    content = {key: value for key, value in SAMPLES["evaluation"].items() if key not in new}
    record = load(written("evaluation", tmp_path, content))
    assert isinstance(record, Iteration)
    assert (record.validation_error, record.model, record.extrapolation) == (None, None, None)
    assert (record.candidates, record.shells) == ([], [])
    assert record.score == record.structure_uncertainty == 0.2


def test_records_of_different_content_differ(tmp_path: Path) -> None:
    record = load(written("locality", tmp_path))
    assert isinstance(record, ForceLocality)
    assert record == record.model_copy()
    assert record != record.model_copy(update={"radii": record.radii + 1e-12})
    assert record != "something else"


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all values in nested content."""
    if path:
        yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*path, key))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from places(value, (*path, index))


def changed(content: Any, path: tuple[Any, ...], *value: Any) -> Any:
    """A copy with another value in that place, or none."""
    found = inner = copy.deepcopy(content)
    for key in path[:-1]:
        inner = inner[key]
    if value:
        inner[path[-1]] = value[0]
    else:
        del inner[path[-1]]
    return found


@pytest.mark.parametrize("kind", SAMPLES)
def test_nonsense_anywhere_is_one_sentence(kind: str, tmp_path: Path) -> None:
    """Values of the wrong kind, and missing ones, in every place of the file."""
    refused = 0
    for place in places(SAMPLES[kind]):
        contents = [changed(SAMPLES[kind], place)]
        contents += [
            changed(SAMPLES[kind], place, value)
            for value in (None, [], {}, "x", -1, 10**400, [[None]], [{}])
        ]
        for content in contents:
            path = written(kind, tmp_path, content or {"unknown": 1}, indent=None)
            sentence = ""
            try:
                load(path)
            except DamagedFileError as error:
                sentence = str(error)
                refused += 1
            if sentence:
                begins = ("incomplete or damaged (", "not valid JSON (")  # the latter: 10**400
                assert sentence.startswith(tuple(f"{path}: {each}" for each in begins))
                assert "\n" not in sentence
    assert refused > len(SAMPLES[kind])


@pytest.mark.parametrize("kind", SAMPLES)
def test_files_that_are_refused(kind: str, tmp_path: Path) -> None:
    record = KINDS[f"nearsight-{kind}"]
    path = written(kind, tmp_path)
    whole, newer = path.read_text(), record.VERSION + 1
    for content, message in (
        (whole[:-20], "not valid JSON"),
        (whole.replace(f"nearsight-{kind}", "nearsight-other"), "not a file of format"),
        (whole.replace('"version": 1', f'"version": {newer}'), "written by a newer nearsight"),
        (whole.replace('"version": 1', '"version": null'), "no valid version number"),
    ):
        path.write_text(content)
        with pytest.raises(InputError) as caught:
            record.load(path)
        assert str(caught.value).startswith(f"{path}: {message}")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"none\.json: cannot be read \(No such file"):
        record.load(tmp_path / "none.json")


def test_deep_nesting(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 200_000)
    with pytest.raises(DamagedFileError, match=r"deep\.json: not valid JSON .*too many levels"):
        read_json(path)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("evaluation", {"forces": [[1.0, 0.0, 0.0]]}, "forces has 1 entries, expected 3"),
        ("evaluation", {"bounds": {"forces": BOUND | {"factor_95": 1e30}}}, "above factor"),
        ("verdict", {"command": "rm -rf {run}"}, "command: string should match"),
        ("verdict", {"largest_bound": -0.1}, "largest_bound: input should be greater"),
        ("evaluation", {"forces": [[1.0, 0.0]]}, r"forces: expected shape \(n, 3\), found \(1, 2"),
        ("evaluation", {"forces": "none"}, r"forces: expected numbers of shape \(n, 3\)"),
        ("evaluation", {"uncertainty": [0.1]}, "uncertainty has 1 entries, expected 3"),
        ("evaluation", {"uncertainty_raw": [1, 2, None]}, "uncertainty_raw: expected finite"),
        ("evaluation", {"uncertainty_raw": []}, "uncertainty_raw is empty"),
        ("evaluation", {"chunk_indices": [0, 0]}, "chunk_indices must be different atoms from 0"),
        ("evaluation", {"chunk_indices": [3]}, "chunk_indices must be different atoms from 0 to 2"),
        ("evaluation", {"chunk_indices": [0.5]}, r"chunk_indices\.0: input should be a valid int"),
        ("evaluation", {"again_indices": [2]}, "again_indices must be among chunk_indices"),
        ("evaluation", {"model": MODEL | {"l2": -1.0}}, r"model\.l2: input should be greater than"),
        (
            "evaluation",
            {"model": MODEL | {"hidden_layers": [0]}},
            r"model\.hidden_layers\.0: input",
        ),
        ("evaluation", {"candidates": [{"model": MODEL}]}, r"candidates\.0\.error: field required"),
        ("evaluation", {"seconds": "long"}, "seconds: input should be a valid number"),
        ("locality", {"n_atoms": [[0.5], [2]]}, "n_atoms: expected whole numbers"),
        ("locality", {"n_atoms": [[1e300], [2]]}, "n_atoms: expected smaller numbers"),
        ("locality", {"radii": [4.0]}, "1 radii and 1 atoms, but n_atoms has shape"),
        ("locality", {"radii": []}, "holds no radius or no atom"),
        ("locality", {"true_forces": []}, "true_forces has 0 entries, expected 1"),
        ("relaxation", {"ensemble": ENSEMBLE | {"fmax": [1.0]}}, "fmax has 1 entries, expected 2"),
        ("relaxation", {"parent": PATH | {"energies": []}}, "parent: energies is empty"),
        ("relaxation", {"fmax": None}, "fmax: input should be a valid number"),
        ("dynamics", {"settings": {"steps": 20}}, "settings.temperature must be a number"),
        ("retraining", {"best": 2}, "best is 2, but there are rounds 0 to 1"),
        ("run", {"target": {"formula": "Pt"}}, r"target\.n_atoms: field required"),
    ],
)
def test_what_does_not_fit_together(
    kind: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = written(kind, tmp_path, SAMPLES[kind] | change)
    with pytest.raises(DamagedFileError, match=message):
        load(path)


def test_figures_that_follow_from_a_record(tmp_path: Path) -> None:
    iteration = load(written("evaluation", tmp_path))
    assert isinstance(iteration, Iteration)
    assert (iteration.chunks, iteration.structure_uncertainty) == (2, 0.2)
    assert iteration.score == 0.03
    retraining = load(written("retraining", tmp_path))
    assert isinstance(retraining, RetrainingRecord)
    path = retraining.rounds[1].paths[0]
    assert (path.steps, path.energy_change, path.broken) == (1, -0.25, "atoms overlap")


@pytest.mark.parametrize(
    ("uncertainties", "started", "best"),
    [
        ([0.1], False, 0),
        ([0.1, 0.9, 0.5], False, 2),  # the first one counts only while it is alone
        ([0.1, 0.9, 0.5], True, 0),
        ([0.5, 0.5, 0.5], False, 1),  # the earlier of two equal ones
        ([0.4, 0.3, 0.3], True, 1),
    ],
)
def test_the_best_iteration(uncertainties: list[float], started: bool, best: int) -> None:
    assert best_of(uncertainties, started) == best
    assert best_of(np.array(uncertainties), started) == best


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.9, 0.5, 0.504], 3),  # the latest of those that hardly differ
        ([0.1, 0.9, 0.5, 0.506], 2),
        ([0.1, 0.504, 0.5, 0.6], 2),
        ([0.1, 0.504, 0.5, 0.6, 0.505], 4),
        ([0.1], 0),
    ],
)
def test_errors_that_hardly_differ(scores: list[float], best: int) -> None:
    assert best_of(scores, slack=0.01) == best
    iterations = [make_iteration(n, [0.5], validation_error=e) for n, e in enumerate(scores)]
    assert best_iteration(iterations) == best
    # uncertainties are told apart to the last bit
    iterations = [make_iteration(n, [e]) for n, e in enumerate(scores)]
    assert best_iteration(iterations) == best_of(scores)


def test_the_cost_is_that_of_all_calculations(tmp_path: Path) -> None:
    record = load(written("run", tmp_path))
    assert isinstance(record, RunRecord)
    assert record.cost is not None
    assert record.cost.total == 0.8125


def test_names(tmp_path: Path) -> None:
    assert [numbered("relaxation.json", number) for number in (0, 1)] == [
        "relaxation.json",
        "relaxation-1.json",
    ]
    assert round_folder(tmp_path, 3).name == "retraining-03"
    assert iteration_folder(tmp_path, 1000).name == "iteration-1000"
    for number in (1, 0, 3, 1000):
        folder = iteration_folder(tmp_path, number)
        folder.mkdir()
        (folder / Iteration.FILE).touch()
    # what stands after a gap is a leftover
    assert [path.parent.name for path in evaluation_files(tmp_path)] == [
        "iteration-000",
        "iteration-001",
    ]
