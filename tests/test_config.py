"""The configuration file: what it says when it is wrong, and that what is written can be read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from nearsight.config import (
    Config,
    FeatureSettings,
    InitialSettings,
    LocalitySettings,
    NetworkSettings,
    NFTSettings,
    RelaxationSettings,
    ReportSettings,
    TargetSettings,
    TrainingSettings,
)
from nearsight.config.template import to_toml
from nearsight.errors import InputError

TARGET = '[target]\nstructure = "target.xyz"\n'


def mistakes(text: str, folder: Path | None = None) -> list[str]:
    with pytest.raises(InputError) as caught:
        Config.parse(text, "nft.toml", folder)
    return str(caught.value).splitlines()


def test_defaults_are_those_of_the_paper() -> None:
    # SI 8: 20 η from 10⁻³ to 10² by three centres, and 3 × 3 × 2 angular functions
    config = Config.parse(TARGET)
    features = config.features
    assert features.g2_eta == pytest.approx(np.logspace(-3, 2, 20), rel=1e-15)
    assert len(features.g2_eta) * len(features.g2_r_s) == 60
    assert len(features.g4_eta) * len(features.g4_zeta) * len(features.g4_gamma) == 18
    assert config.initial.space_groups == (225, 79)
    assert (config.initial.a0, config.initial.minsep, config.initial.posamp) == (4.0, 2.65, 0.03)
    assert config.locality is None
    assert config.relaxation is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sed = 1\n" + TARGET, "line 1: unknown key sed; did you mean seed?"),
        (TARGET + "[trainig]", "line 3: unknown key trainig; did you mean training?"),
        (
            TARGET + "[nft]\nchunk_radios = 8.0",
            "line 4: unknown key nft.chunk_radios; did you mean chunk_radius?",
        ),
        (
            TARGET + "[images]\nwhatever = 8.0",
            "line 4: unknown key images.whatever; known here: count",
        ),
        (TARGET + "[images]\ncount = 0", "line 4: images.count must be at least 1, got 0"),
        (TARGET + "[images]\ncount = true", "line 4: images.count must be a whole number, got t"),
        (TARGET + "[initial]\na0 = 5e-324", "line 4: initial.a0 must be at least 0.5, got 5e-324"),
        (TARGET + "[initial]\nposamp = 11", "line 4: initial.posamp must be at most 10, got 11"),
        (TARGET + "[nft]\nthreshold = -1", "line 4: nft.threshold must be greater than -1, got -1"),
        (TARGET + "[training]\nl2 = '0'", "line 4: training.l2 must be a number, got '0'"),
        (TARGET + "[training]\nl2 = nan", "line 4: training.l2 must be a finite number, got nan"),
        (
            TARGET + "[features]\ncutoff_function = 'cos'",
            "line 4: features.cutoff_function must be 'cosine' or 'polynomial', got 'cos'",
        ),
        (
            TARGET + "[features]\ncount = 'many'",
            "line 4: features.count must be a whole number or a table, got 'many'",
        ),
        (
            TARGET + "[features]\ncount = { Pt = 0 }",
            "line 4: features.count.Pt must be at least 1, got 0",
        ),
        (
            TARGET + "[features.count]\nPt = 5\nQq = 5",
            "line 5: features.count.Qq: unknown chemical element 'Qq'",
        ),
        (
            TARGET + "[initial]\nelements = [\n  'Pt',\n  'X',\n]",
            "line 4: initial.elements[1]: unknown chemical element 'X'",
        ),
        (
            TARGET + "[initial]\nspace_groups = [225, 231]",
            "line 4: initial.space_groups[1] must be at most 230, got 231",
        ),
        (
            TARGET + "[initial]\nspace_groups = [79, 79]",
            "line 4: initial.space_groups must not name anything twice",
        ),
        (TARGET + "[locality]\nradii = []", "line 4: locality.radii must not be empty, got []"),
        (
            TARGET + "[locality]\natoms = 'none'",
            "line 4: locality.atoms must be a list or 'all', got 'none'",
        ),
        (TARGET + "network = 3", "line 3: unknown key target.network; known here: structure"),
        ("network = 3\n" + TARGET, "line 1: network must be a table, got 3"),
        (
            TARGET + "[initial]\nstructures = 'a.xyz'\na0 = 4.0\nminsep = 2.0",
            "line 3: initial: structures stands for all other keys here; leave out a0, minsep",
        ),
        (
            TARGET + "[features]\nsymmetry_functions = 'a.json'\ncount = 3",
            "line 3: features: symmetry_functions stands for all other keys here; leave out count",
        ),
        (
            TARGET + "[parent]\ncost_exponent = 1e6",
            "line 4: parent.cost_exponent must be at most 20, got 1000000.0",
        ),
        (
            TARGET + "[executor]\npatience = 1e18",
            "line 4: executor.patience must be at most 1000000, got 1e+18",
        ),
        (
            TARGET + "[executor]\ntime_limit = 1e308",
            "line 4: executor.time_limit must be at most 1000000, got 1e+308",
        ),
        (
            TARGET + "[features]\ng5_zeta = [1e300]",
            "line 4: features.g5_zeta[0] must be at most 10000, got 1e+300",
        ),
        (
            TARGET + "[dynamics]\nfriction = 1e18",
            "line 4: dynamics.friction must be at most 1000000, got 1e+18",
        ),
        (
            TARGET + "[dynamics]\npressure_time = 1e-300",
            "line 4: dynamics.pressure_time must be at least 1, got 1e-300",
        ),
        (
            TARGET + "[dynamics]\ntimestep = 1e300",
            "line 4: dynamics.timestep must be at most 100, got 1e+300",
        ),
        (
            TARGET + "[features]\ngamma = 4.0",
            'line 3: features: gamma belongs to cutoff_function = "polynomial" only',
        ),
        (
            TARGET + "[features]\ncutoff_function = 'polynomial'",
            'line 3: features: cutoff_function = "polynomial" needs gamma, e.g. gamma = 4.0',
        ),
        (
            TARGET + "[features]\ncutoff = 51.0",
            "line 4: features.cutoff must be at most 30, got 51.0",
        ),
        (
            TARGET + "[features]\ncutoff = 4.0",
            "line 3: features: g2_r_s must stay below the cutoff 4 Å, got [4.0]",
        ),
        (
            TARGET + "[features]\nangular_cutoff = 4.5\ng5_r_s = [0.0, 4.5]",
            "line 3: features: g5_r_s must stay below the cutoff 4.5 Å, got [4.5]",
        ),
        (
            TARGET + "[features]\nangular_cutoff = 7.0",
            "line 3: features: angular_cutoff must not be larger than the cutoff 6.5 Å, got 7",
        ),
        ("[target]\n", "line 1: target.structure is missing (the large structure: any file"),
    ],
)  # fmt: skip
def test_a_mistake_has_one_sentence_with_its_line(text: str, sentence: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(f"nft.toml, {sentence}")


def test_a_missing_section_is_named() -> None:
    assert mistakes("seed = 1") == [
        "nft.toml: target is missing (the structure the potential is for)"
    ]


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    text = (
        "seed = -1\n[training]\niterations = 2.5\nepochs = 3\n[target]\n"
        "structur = 'x'\n[nft]\nvacuum = -1.0\n"
    )
    found = [line.removeprefix("nft.toml, ") for line in mistakes(text)]
    assert [line.partition(":")[0] for line in found] == [
        "line 1", "line 3", "line 4", "line 5", "line 6", "line 8",
    ]  # fmt: skip


def test_text_that_is_no_toml_says_where() -> None:
    (found,) = mistakes("seed = \n")
    assert found.startswith("nft.toml: not valid TOML: ")
    assert "line 1" in found


def test_files_are_relative_to_the_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "target.xyz").touch()
    path = folder / "nft.toml"
    path.write_text(TARGET)
    config = Config.load(path)
    assert config.target.structure == folder / "target.xyz"
    assert config.source == TARGET
    path.write_text('[target]\nstructure = "target.xyz@-1"')
    assert Config.load(path).target.structure == folder / "target.xyz@-1"


def test_a_file_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    (found,) = mistakes(TARGET, tmp_path)
    wanted = f"must be an existing file; there is no {tmp_path / 'target.xyz'}"
    assert found == f"nft.toml, line 2: target.structure {wanted}"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_configuration_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "nft.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"nft\.toml: (cannot be read|must be UTF-8 text)"):
        Config.load(path)


@pytest.mark.parametrize(
    "config",
    [
        Config(target=TargetSettings(structure="a 'b' \"c\"\\d.xyz")),
        Config(
            seed=7,
            target=TargetSettings(structure="t.xyz"),
            parent={"calculator": "m:f", "arguments": {"mode": {"ecut": 450.5}, "xc": ["a", True]}},
            initial=InitialSettings(elements=("Cu", "Au"), minsep=2.123456789012345),
            features=FeatureSettings(
                count={"Cu": 5, "Au": 6},
                cutoff_function="polynomial",
                gamma=4.0,
                g2_eta=tuple(i / 7 for i in range(12)),
            ),
            training=TrainingSettings(l2=1e-300),
            locality=LocalitySettings(atoms="all"),
            relaxation=RelaxationSettings(optimizer="BFGS", with_parent=True),
        ),
        Config(
            target=TargetSettings(structure="t.xyz"),
            initial=InitialSettings(structures="images.extxyz"),
            features=FeatureSettings(symmetry_functions="functions.json"),
        ),
    ],
)
def test_what_is_written_reads_back_the_same(config: Config) -> None:
    assert Config.parse(config.source).model_dump() == config.model_dump()
    again = Config.parse(to_toml(config, "title"))
    assert again.model_dump() == config.model_dump()


def test_the_written_file_can_be_switched_on_line_by_line() -> None:
    """Every line ``#key = value`` of the template is TOML when its # is taken away."""
    text = to_toml(Config(target=TargetSettings(structure="t.xyz")))
    off = [line for line in text.splitlines() if line.startswith("#") and line[1] != " "]
    optional = "\n".join(line[1:] for line in off[off.index("#[locality]") :])
    config = Config.parse(TARGET + optional)
    assert config.locality == LocalitySettings()
    assert config.relaxation == RelaxationSettings()


def test_every_setting_is_described() -> None:
    for name, section in Config.model_fields.items():
        assert section.description or getattr(section.annotation, "__doc__", None), name
    text = to_toml(Config(target=TargetSettings(structure="t.xyz")))
    lines = text.splitlines()
    for before, line in pairwise(lines):
        if "=" in line and not line.startswith("# "):
            assert before.startswith("# "), line


def test_settings_do_not_change() -> None:
    settings = TrainingSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.iterations = 3  # type: ignore[misc]


EXAMPLES = Path(__file__).parents[1] / "examples"
BY_CENTERS = {"labels": "center", "first_chunks": 15, "chunks_per_iteration": 15, "max_chunks": 75}
PAPER = {
    "labels": "center",
    "environment": "chunk",
    "chunk_radius": 6.5,
    "threshold": -0.9,
    "first_chunks": 26,
    "chunks_per_iteration": 26,
    "max_chunks": 144,
}


@pytest.mark.parametrize(
    ("name", "nodes", "nft", "training", "scan"),
    [
        ("emt", 5, {"validation_chunks": 0, "max_chunks": 16}, {}, True),
        ("center", 10, BY_CENTERS, {"tolerance": 0.0}, True),
        ("paper", 10, PAPER, {"tolerance": 0.0, "force_coefficient": 0.04, "l2": 1e-3}, False),
    ],
)
def test_the_examples_are_the_paper_s_case(
    name: str, nodes: int, nft: dict[str, Any], training: dict[str, Any], scan: bool
) -> None:
    """By whole chunks, by centres, and with all settings of the SI."""
    config = Config.load(EXAMPLES / f"pt260_{name}.toml")
    features = FeatureSettings()
    if name == "emt":
        features = FeatureSettings(count=28, angular_count=10, cutoff=5.5, angular_cutoff=4.4)
    wanted = Config(
        target=config.target,
        initial=InitialSettings(elements=("Pt",)),
        features=features,
        network=NetworkSettings(hidden_layers=(nodes, nodes)),
        training=TrainingSettings(**training),
        nft=NFTSettings(**nft),
        locality=LocalitySettings() if scan else None,
        relaxation=RelaxationSettings(
            optimizer="auto" if name == "emt" else "BFGS", with_parent=True
        ),
        report=ReportSettings(true_forces=True),
    )
    assert config.model_dump() == wanted.model_dump()


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@host/x", "postgresql://me@host/x?password=s3cret"]
)
def test_a_password_is_refused_and_not_shown(url: str) -> None:
    text = f'[target]\nstructure = "a.xyz"\n[parent]\ndatabase = "{url}"\n'
    with pytest.raises(InputError) as caught:
        Config.parse(text)
    assert "must not hold a password" in str(caught.value)
    assert "PGPASSWORD" in str(caught.value)
    assert "s3cret" not in str(caught.value)
