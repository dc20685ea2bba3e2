"""Options made of the settings: one for every key, with its checks; sections from a file."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import ase.io
import jsonschema
import pytest
import typer
from ase.build import bulk

import nearsight.learning.initial_cells
import nearsight.learning.locality
import nearsight.learning.nft
from helpers import copper
from helpers.cli import Run, run_command
from nearsight.cli import app
from nearsight.config import Config
from nearsight.config.errors import section_model
from nearsight.config.fields import Settings
from nearsight.parents import Parent
from nearsight.structures.images import Image, read_images, write_images

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.toml"))
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SECTIONS = {
    "init": ["initial", "parent", "executor"],
    "select-images": ["images"],
    "select-features": ["features"],
    "train": ["baseline", "network", "training", "ensemble"],
    "nft": ["nft", "baseline", "network", "training", "ensemble", "parent", "executor"],
    "locality": ["locality", "parent", "executor"],
    "relax": ["relaxation"],
    "retrain": ["retraining", "relaxation"],
    "md": ["dynamics"],
}
NOT_OPTIONS = {
    ("init", "elements"),  # its argument
    ("select-features", "with_target"),  # names the structure
    ("select-features", "symmetry_functions"),  # it makes them
    ("train", "iterations"),  # of later NFT iterations
    ("relax", "with_parent"),
    ("retrain", "with_parent"),
    ("retrain", "on_uncertain"),
    ("retrain", "max_uncertainty"),
}
NAMES = {"parent.calculator": "--parent", "parent.database": "--database"}


def model_of(section: str) -> type[Settings]:
    model = section_model(Config.model_fields[section])
    assert model is not None
    assert issubclass(model, Settings)
    return model


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return run_command


@pytest.mark.parametrize("command", SECTIONS)
def test_every_key_of_a_section_is_an_option(command: str) -> None:
    options = {name: option for option in COMMANDS[command].params for name in option.opts}
    assert "--config" in options
    for section in SECTIONS[command]:
        for key, field in model_of(section).model_fields.items():
            if (command, key) in NOT_OPTIONS:
                continue
            prefix = "--parent-" if section == "parent" else "--"
            name = NAMES.get(f"{section}.{key}", prefix + key.replace("_", "-"))
            description = " ".join((field.description or "").split())
            assert options[name].help.replace("\\[", "[").startswith(description)
            assert f"[{section}]" in options[name].rich_help_panel


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("command", SECTIONS)
def test_the_help_is_readable_at_this_width(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = run(command, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= width
    assert "…" not in out  # nothing is cut
    for section in SECTIONS[command]:
        assert re.search(rf"^╭─ \[{section}\] .* ─+╮$", out, re.M)


def settings_of(
    run: Run, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[dict[str, Any], str]:
    """What reaches the stage; the message if nothing does."""
    found: dict[str, Any] = {}

    def parent_of(settings: Any, executor: Any) -> Parent:
        found.update(parent=settings, executor=executor)
        return Parent("emt")

    def initialize(cells: Any, *_: object) -> list[Image]:
        found["initial"] = cells
        return copper.cells()[:1]

    def scan(structure: object, parent: object, radii: Any, indices: Any, **_: object) -> Any:
        found.update(radii=radii, atoms=indices)
        raise nearsight.InputError("scanned")

    def train(self: Any, *_: object, executor: object = None) -> Any:
        found.update(nft=self, trainer=executor)
        raise nearsight.InputError("trained")

    monkeypatch.setattr(Parent, "of", parent_of)
    monkeypatch.setattr(nearsight.learning.initial_cells.Initialization, "run", initialize)
    monkeypatch.setattr(nearsight.learning.locality, "force_locality", scan)
    monkeypatch.setattr(nearsight.learning.nft.NFT, "run", train)
    _, _, err = run(*arguments)
    return found, err


COSTLY = (
    "--parent", "gpaw", "--parent-preset", "lcao", "--parent-arguments", '{ mode = "lcao" }',
    "--parent-chunks", '{ "h": 0.2 }', "--parent-bulk", "{ kpts = [2, 2, 2] }",
    "--parent-retries", "[{ maxiter = 500 }, {}]", "--parent-max-force", "50",
    "--parent-timeout", "3600", "--workers", "3", "--trainings",
    "--setup", "module load gcc, mpi", "--setup", "module load gpaw",
)  # fmt: skip


def check_costly(found: dict[str, Any]) -> None:
    parent, executor = found["parent"], found["executor"]
    assert (parent.calculator, parent.preset) == ("gpaw", "lcao")
    assert parent.arguments == {"mode": "lcao"}
    assert parent.chunks == {"h": 0.2}
    assert parent.bulk == {"kpts": [2, 2, 2]}
    assert parent.retries == ({"maxiter": 500}, {})
    assert (parent.max_force, parent.timeout) == (50.0, 3600.0)
    assert (executor.engine, executor.workers, executor.trainings) == ("inline", 3, True)
    assert executor.setup == ("module load gcc, mpi", "module load gpaw")


def write_files() -> None:
    particle = bulk("Cu", cubic=True).repeat(2)
    particle.pbc = False
    ase.io.write("particle.xyz", particle)
    write_images("images.extxyz", copper.cells())
    copper.functions().save("functions.json")


STAGES = {
    "init": ("init", "Cu"),
    "locality": ("locality", "particle.xyz"),
    "nft": ("nft", "particle.xyz", "images.extxyz", "functions.json"),
}


@pytest.mark.parametrize("command", STAGES)
def test_parent_and_executor_of_a_stage(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    write_files()
    found, _ = settings_of(run, monkeypatch, *STAGES[command], *COSTLY)
    check_costly(found)


CONFIG = """\
seed = 7
[parent]
calculator = "gpaw"
preset = "lcao"
arguments = { mode = "lcao" }
chunks = { h = 0.2 }
bulk = { kpts = [2, 2, 2] }
retries = [{ maxiter = 500 }, {}]
max_force = 40.0
timeout = 3600.0
database = "shared.db"
[executor]
workers = 3
trainings = true
setup = ["module load gcc, mpi", "module load gpaw"]
[initial]
elements = ["Cu", "Au"]
n_rattled = 3
[locality]
radii = [4.0, 5.0]
[nft]
chunk_radius = 5.0
max_chunks = 30
[network]
hidden_layers = [4]
[ensemble]
members = 3
"""


@pytest.mark.parametrize("command", STAGES)
def test_sections_of_a_file_and_options_over_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    write_files()
    Path("other").mkdir()
    Path("other/part.toml").write_text(CONFIG)
    stage = ("init",) if command == "init" else STAGES[command]
    more = ("--max-chunks", "40") if command == "nft" else ()
    found, err = settings_of(
        run, monkeypatch, *stage, "--config", "other/part.toml", "--parent-max-force", "50", *more
    )
    check_costly(found)
    assert found["parent"].database == str(Path("other/shared.db").absolute())
    if command == "init":
        cells = found["initial"]
        assert (cells.elements, cells.n_rattled, cells.a0) == (("Cu", "Au"), 3, 4.0)
        assert cells.seed == 0  # as in a run, whatever its seed
        found, _ = settings_of(run, monkeypatch, "init", "Cu", "--config", "other/part.toml")
        assert found["initial"].elements == ("Cu",)
    elif command == "locality":
        assert err == "scanned\n"
        assert (found["radii"], found["atoms"]) == ((4.0, 5.0), [0])
    else:
        assert err == "trained\n"
        nft = found["nft"]
        assert (nft.settings.chunk_radius, nft.settings.max_chunks) == (5.0, 40)
        assert (nft.network.hidden_layers, nft.ensemble.members, nft.seed) == ((4,), 3, 7)


def test_a_stage_with_a_file_does_what_the_run_does(run: Run) -> None:
    write_files()
    Path("nft.toml").write_text(
        '[target]\nstructure = "particle.xyz"\n[initial]\na0 = 3.7\nminsep = 2.2\n'
        'space_groups = [225]\nn_rattled = 2\nelements = ["Cu"]\n[images]\ncount = 3\n'
    )
    assert run("init", "--config", "nft.toml")[0] == 0
    assert run("select-images", "initial.extxyz", "--config", "nft.toml")[0] == 0
    assert len(read_images("selected.extxyz")) == 3
    config = Config.load("nft.toml")
    expected = nearsight.Initialization.of(config.initial).run("emt")
    cells = read_images("initial.extxyz")
    assert [image.atoms.info for image in cells] == [image.atoms.info for image in expected]
    run("init", "--structures", "selected.extxyz", "-o", "own.extxyz")
    assert len(read_images("own.extxyz")) == 3


@pytest.mark.parametrize(
    ("text", "arguments", "sentence"),
    [
        ("[nft]\nvacuum = -1\n", (), "part.toml, line 2: nft.vacuum must be at least 0, got -1"),
        ("[nfr]\n", (), "part.toml, line 1: unknown key nfr; did you mean nft?"),
        ("[nft\n", (), "part.toml: not valid TOML"),
        ("", ("--max-chunks", "0"), "--max-chunks must be at least 1, got 0"),
        (
            "",
            ("--parent-arguments", "xc=PBE"),
            '--parent-arguments must be TOML like { mode = "lcao", kpts = [2, 2, 2] }, got ',
        ),
        ("", ("--parent-retries", "{}"), "--parent-retries must be a list, got {}"),
        ("", ("--engine", "loca"), "--engine must be 'inline', 'local' or 'slurm', got 'loca'"),
    ],
)
def test_mistakes(run: Run, text: str, arguments: tuple[str, ...], sentence: str) -> None:
    write_files()
    Path("part.toml").write_text(text)
    code, out, err = run(*STAGES["nft"], "--config", "part.toml", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1
    assert not Path("nft").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("select-features", "images.extxyz"), "features.with_target: name the structure with "),
        (("init",), "elements is missing"),
        (("init", "cu"), "ELEMENTS[0]: unknown chemical element 'cu'; did you mean Cu?"),
        (("init", "CuAu"), "ELEMENTS[0]: unknown chemical element 'CuAu'; did you mean Cu Au?"),
        (("md", "part.toml", "--temperature", "500"), "settings of the dynamics cannot go with "),
    ],
)
def test_arguments_that_are_missing_or_do_not_fit(
    run: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    write_files()
    Path("part.toml").write_text("[features]\nwith_target = true\n[dynamics]\n")
    more = () if arguments[0] == "md" else ("--config", "part.toml")
    code, out, err = run(*arguments, *more)
    assert (code, out) == (2, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1


# -- the schema


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return Config.json_schema()


def toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_the_schema_is_printed_and_sound(run: Run, schema: dict[str, Any]) -> None:
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    assert json.loads(out) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    for name in SECTIONS["nft"]:
        model = model_of(name)
        for key, found in schema["$defs"][model.__name__]["properties"].items():
            assert found["description"] == model.model_fields[key].description


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_fit_the_schema(schema: dict[str, Any], path: Path) -> None:
    jsonschema.validate(toml(path), schema)


def test_what_new_writes_fits_the_schema_and_leads_to_it(run: Run, schema: dict[str, Any]) -> None:
    write_files()
    assert run("new", "particle.xyz")[0] == 0
    assert Path("nft.toml").read_text().startswith("#:schema nearsight.schema.json\n")
    jsonschema.validate(toml(Path("nft.toml")), schema)


@pytest.mark.parametrize(
    "wrong",
    [
        {"nft": {"chunk_radios": 8.0}},
        {"nft": {"chunk_radius": "eight"}},
        {"nft": {"chunk_radius": -8.0}},
        {"nft": {"environment": "vacuum"}},
        {"network": {"hidden_layers": []}},
        {"nfft": {}},
    ],
)
def test_mistakes_do_not_fit_the_schema(schema: dict[str, Any], wrong: dict[str, Any]) -> None:
    content = {"target": {"structure": "a.xyz"}}
    jsonschema.validate(content, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | wrong, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, schema)
