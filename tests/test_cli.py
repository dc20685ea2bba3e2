"""The command line: what it refuses, in one sentence; what it teaches; what it writes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import ase.io
import pytest
import typer
from ase import Atoms
from ase.build import bulk

import nearsight.structures.images
from helpers.cli import Run, python, run_command
from nearsight.cli import app
from nearsight.config import Config
from nearsight.errors import InputError, ParentError
from nearsight.run.suggest import nearest_neighbour_distance

GROUPS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMANDS = {
    name if each is group else f"{name} {within}": each
    for name, group in GROUPS.items()
    for within, each in getattr(group, "commands", {"": group}).items()
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return run_command


@pytest.fixture
def particle(tmp_path: Path) -> Path:
    path = tmp_path / "particle.xyz"
    cluster = bulk("Cu", cubic=True).repeat(2)
    cluster.pbc = False
    ase.io.write(path, cluster)
    return path


def test_all_commands_are_there() -> None:
    assert next(iter(COMMANDS)) == "new"  # with which one begins
    assert set(COMMANDS) == {
        "new", "distil", "run", "status", "report", "schema",
        "init", "select-images", "select-features", "train", "nft",
        "evaluate", "relax", "retrain", "md", "locality", "info", "doctor",
        "import", "export", "labels list", "labels export", "labels copy", "labels verify",
        "lammps input", "lammps md", "lammps build",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_teaches_with_an_example_that_parses(run: Run, name: str) -> None:
    code, out, _ = run(*name.split(), "--help")
    assert code == 0
    assert " In: " in out
    assert " Out: " in out
    (example,) = re.findall(r"^ +(nearsight .*\S)\s*$", out.partition("Example:")[2], re.M)
    words = shlex.split(example.partition(" > ")[0])
    count = len(name.split())
    assert words[: count + 1] == ["nearsight", *name.split()]
    arguments = words[count + 1 :]
    COMMANDS[name].make_context(name, arguments)  # raises for an option that is none


def test_help_does_not_wait_for_the_numerical_libraries() -> None:
    code = (
        "import sys, nearsight.cli; "
        "print(sorted({'ase', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    assert python("-c", code) == (0, "[]\n", "")


def test_the_module_is_the_command() -> None:
    code, _, err = python("-m", "nearsight", "new", "nowhere.xyz")
    assert code == 2
    assert err.splitlines() == ["nowhere.xyz: no such file"]


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (InputError("first\nsecond"), 2, "first\nsecond"),
        (ParentError("parent failed on Pt:\n  SCF did\n  not converge"), 2,
         "parent failed on Pt: SCF did not converge"),
        (PermissionError(13, "Permission denied", "some.file"), 2, "some.file: Permission denied"),
        (OSError("odd"), 2, "odd"),
        (KeyboardInterrupt(), 130, "Interrupted; the same command continues from here."),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, sentence: str
) -> None:
    def fail(*_: object) -> Atoms:
        raise error

    monkeypatch.setattr(nearsight.structures.images, "read_structure", fail)
    assert run("new", "particle.xyz") == (code, "", sentence + "\n")


SHAPES = "operands could not be broadcast together with shapes (3,) (4,)"


def broken(*arguments: object, **more: object) -> None:
    raise ValueError(SHAPES)


@pytest.mark.parametrize(
    "place", [("--traceback", "new", "particle.xyz"), ("new", "particle.xyz", "--traceback")]
)
def test_an_error_of_the_program_is_told_from_one_of_the_user(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: tuple[str, ...]
) -> None:
    monkeypatch.setattr(nearsight.structures.images, "read_structure", broken)
    code, out, err = run("new", "particle.xyz")
    assert (code, out) == (1, "")
    assert err == (
        f"ValueError: {SHAPES}. This is an error in nearsight or in a library, not in what it was "
        "given (traceback with --traceback).\n"
    )
    code, out, err = run(*place)
    assert (code, out) == (1, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert "in broken\n" in err
    assert "(traceback with" not in err


def test_a_traceback_of_a_mistake_is_shown_when_asked_for(run: Run) -> None:
    code, _, err = run("new", "nowhere.xyz", "--traceback")
    assert code == 2
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("\nnowhere.xyz: no such file\n")


@pytest.mark.parametrize("command", ["run", "nft", "retrain", "report"])
def test_the_traceback_of_an_error_of_the_program_is_in_the_log(
    run: Run, particle: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    Path("nft.toml").write_text('[target]\nstructure = "particle.xyz"\n')
    Path("nft").mkdir()
    arguments, place = {
        "run": (["nft.toml"], "nearsight.run.first.Initialization.run"),
        "nft": (["particle.xyz", "a.xyz", "f.json"], "nearsight.structures.images.read_images"),
        "retrain": (["nft", "--workdir", "nft"], "nearsight.run.finished.open_finished_run"),
        "report": (["nft"], "nearsight.report.page.write_report"),
    }[command]
    monkeypatch.setattr(place, broken)
    code, out, err = run(command, *arguments)
    assert (code, out) == (1, "")
    error = err.splitlines()[-1]
    assert error.startswith(f"ValueError: {SHAPES}. This is an error in nearsight ")
    assert err.endswith(" (traceback in nft/run.log).\n")
    log = Path("nft/run.log").read_text()
    assert "Traceback (most recent call last):\n" in log
    assert f"ValueError: {SHAPES}\n" in log
    if command == "run":
        moment = json.loads(Path("nft/status.json").read_text())
        assert SHAPES in moment["error"]
        assert "error in nearsight" in moment["error"]
        assert "traceback in run.log" in moment["error"]


def test_version_without_the_core() -> None:
    code = (
        "import sys, nearsight.cli\n"
        "try: nearsight.cli.main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'ase', 'numpy', 'nearsight._core'} & set(sys.modules)))"
    )
    lines = python("-c", code, "--version").out.splitlines()
    assert lines == [f"nearsight {version('nearsight')}", "0", "[]"]


@pytest.mark.parametrize("module", ["typer", "nearsight.config.structures", "nearsight.cli.run"])
def test_ctrl_c_during_the_imports(module: str) -> None:
    code = (
        "import builtins, os, signal\n"
        # a job in the background of a shell has it ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "whole = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        f"    if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return whole(name, *rest)\n"
        "builtins.__import__ = interrupted\n"
        "from nearsight.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_openmp_is_told_to_wait_in_silence_by_the_command_line_alone() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    library = (
        "import os; before = dict(os.environ)\n"
        "import nearsight; nearsight.build_info(); print(dict(os.environ) == before)"
    )
    command = (
        "import os, nearsight.cli\n"
        "try: nearsight.cli.main()\n"
        "except SystemExit: print(os.environ['OMP_WAIT_POLICY'])"
    )
    for code, policy, printed in (
        (library, {}, "True"),
        (command, {}, "passive"),
        (command, {"OMP_WAIT_POLICY": "active"}, "active"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, "--version"],
            env=environment | policy,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == printed


class TestNew:
    def test_writes_a_file_for_the_structure(self, run: Run, particle: Path) -> None:
        code, out, err = run("new", str(particle), "--seed", "3")
        assert (code, err) == (0, "")
        assert "nearsight run nft.toml" in out
        config = Config.load("nft.toml")
        assert config.seed == 3
        assert config.target.structure == particle.parent / "particle.xyz"
        assert config.initial.elements == ("Cu",)
        # copper: a = 3.61 Å; the paper starts platinum (3.92 Å) at 4.0 Å with minsep 2.65 Å
        assert config.initial.a0 == pytest.approx(3.61 * 4.0 / 3.92, abs=0.05)
        assert config.initial.minsep == pytest.approx(3.61 * 2.65 / 3.92, abs=0.005)
        assert config.nft.max_chunks == 10  # a third of 32 atoms
        assert config.relaxation is not None
        assert config.locality is not None
        assert set(config.locality.atoms) <= set(range(32))

    def test_the_paper_s_case(self, run: Run, tmp_path: Path) -> None:
        ase.io.write(tmp_path / "pt.xyz", bulk("Pt", cubic=True).repeat(4))
        assert run("new", "pt.xyz", "-o", "pt.toml")[0] == 0
        config = Config.load("pt.toml")
        assert (config.initial.a0, config.initial.minsep) == (4.0, 2.65)
        assert (config.nft.first_chunks, config.nft.max_chunks) == (8, 25)
        assert (config.nft.labels, config.nft.validation_chunks) == ("chunk", 3)

    def test_the_structure_is_found_from_the_folder_of_the_file(
        self, run: Run, particle: Path
    ) -> None:
        Path("sub").mkdir()
        assert run("new", "particle.xyz", "-o", "sub/nft.toml")[0] == 0
        assert 'structure = "../particle.xyz"' in Path("sub/nft.toml").read_text()
        assert Config.load("sub/nft.toml").target.structure.samefile(particle)

    def test_dear_parents_are_not_asked_for_extras(
        self, run: Run, particle: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "myparent.py").write_text("from ase.calculators.emt import EMT as make\n")
        assert run("new", "particle.xyz", "--parent", "myparent:make")[0] == 0
        config = Config.load("nft.toml")
        assert config.parent.calculator == "myparent:make"
        assert config.locality is None
        assert not config.report.true_forces
        assert config.relaxation is not None
        assert not config.relaxation.with_parent

    def test_overwrites_only_when_told(self, run: Run, particle: Path) -> None:
        Path("nft.toml").write_text("precious")
        code, out, err = run("new", "particle.xyz")
        assert (code, out) == (2, "")
        assert err == "nft.toml: exists already; give --force to overwrite it\n"
        assert Path("nft.toml").read_text() == "precious"
        assert run("new", "particle.xyz", "--force")[0] == 0
        Config.load("nft.toml")

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (None, "bad.xyz: no such file"),
            ("", "bad.xyz: "),
            ("0\n\n", "bad.xyz"),
            ("1\n\nPt nan 0 0\n", "bad.xyz: the position of atom 0 is not finite"),
            ("1\n\nQq 0 0 0\n", "bad.xyz: ASE cannot read it (KeyError: 'Qq')"),
            ('1\npbc="T T F"\nPt 0 0 0\n', "bad.xyz is periodic in xy but has no cell vector"),
            ("1\n\nFe 0 0 0\n", "parent emt failed on Fe (1 atom): NotImplementedError: No EMT-"),
        ],
    )  # fmt: skip
    def test_refuses_a_bad_target(self, run: Run, content: str | None, sentence: str) -> None:
        if content is not None:
            Path("bad.xyz").write_text(content)
        code, out, err = run("new", "bad.xyz")
        assert (code, out) == (2, "")
        assert err.startswith(sentence)
        assert err.count("\n") == 1
        assert not Path("nft.toml").exists()

    def test_refuses_an_unknown_parent(self, run: Run, particle: Path) -> None:
        code, _, err = run("new", "particle.xyz", "--parent", "emtt")
        assert code == 2
        assert "'emtt'; did you mean emt?" in err

    @pytest.mark.parametrize("place", ["missing/nft.toml", "folder"])
    def test_refuses_an_impossible_output(self, run: Run, particle: Path, place: str) -> None:
        Path("folder").mkdir()
        code, _, err = run("new", "particle.xyz", "-o", place)
        assert (code, err) == (2, f"{place}: must be a file in an existing folder\n")


# distances in Å from tables of the elements' structures
@pytest.mark.parametrize(
    ("symbol", "distance"),
    [("Pt", 2.77), ("Fe", 2.48), ("Si", 2.35), ("Mg", 3.20), ("Po", 3.35)],
)
def test_nearest_neighbour_distance(symbol: str, distance: float) -> None:
    assert nearest_neighbour_distance(symbol) == pytest.approx(distance, abs=0.02)


def test_run_lists_every_mistake_and_leaves_no_folder(run: Run, particle: Path) -> None:
    Path("nft.toml").write_text(
        '[target]\nstructure = "particle.xyz"\n[nft]\nmax_chunk = 3\nvacuum = -1\n'
    )
    code, out, err = run("run", "nft.toml")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "nft.toml, line 4: unknown key nft.max_chunk; did you mean max_chunks?",
        "nft.toml, line 5: nft.vacuum must be at least 0, got -1",
    ]
    assert not Path("nft").exists()


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (
            ("train", "a.xyz", "f.json", "--members", "1"),
            ["--members must be at least 2, got 1"],
        ),
        (
            ("train", "a.xyz", "f.json", "--l2", "-1", "--initial-iterations", "0"),
            ["--l2 must be at least 0, got -1.0", "--initial-iterations must be at least 1, got 0"],
        ),
        (
            ("train", "a.xyz", "f.json", "--hidden-layers", "ten"),
            ["--hidden-layers must be numbers with commas between, got 'ten'"],
        ),
        (
            ("select-features", "a.xyz", "--method", "best"),
            ["--method must be 'cur' or 'force-correlation', got 'best'"],
        ),
        (
            ("select-features", "a.xyz", "--gamma", "3"),
            ['gamma belongs to cutoff_function = "polynomial" only'],
        ),
        (("select-images", "a.xyz"), ["a.xyz: no such file"]),
        (("init", "Qq"), ["ELEMENTS[0]: unknown chemical element 'Qq'"]),
        (
            ("init", "Pt", "--parent-arguments", "[1]"),
            ["--parent-arguments must be a table, got [1]"],
        ),
        (
            ("locality", "a.xyz", "--radii", "3,-1"),
            ["--radii[1] must be greater than 0, got -1.0"],
        ),
        (
            ("relax", "best.json", "a.xyz", "--optimizer", "bfgs"),
            ["--optimizer must be 'auto', 'BFGS', 'LBFGS', 'FIRE' or 'BFGSLineSearch', got 'bfgs'"],
        ),
    ],
)
def test_wrong_options(run: Run, arguments: tuple[str, ...], sentences: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.splitlines() == sentences


def test_a_seed_has_64_bits(run: Run, particle: Path) -> None:
    code, out, err = run("new", str(particle), "--seed", str(2**64))
    assert (code, out) == (2, "")
    assert "must be less than 2**64" in err


def test_no_display_and_no_colour_in_a_pipe(particle: Path, tmp_path: Path) -> None:
    words = ("-m", "nearsight", "new", "particle.xyz")
    code, out, err = python(*words, cwd=tmp_path, TERM="xterm-256color")
    assert (code, err) == (0, "")
    assert "\x1b" not in out


def test_a_level_the_processor_lacks_is_one_sentence() -> None:
    code, _, err = python("-m", "nearsight", "info", "best.json", NEARSIGHT_ISA="x86_64_v9")
    assert code == 2
    assert err.startswith("NEARSIGHT_ISA=x86_64_v9 cannot run here; this processor has ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("code", [0, 2])
def test_threads_that_a_parent_leaves_behind_are_not_waited_for(code: int) -> None:
    arguments = ["--version"] if code == 0 else ["info", "nowhere"]
    done = python(
        "-c",
        "import sys, threading, time\n"
        "from nearsight.__main__ import main\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        f"sys.argv[1:] = {arguments}\n"
        "main()\n",
    )
    assert done.code == code
    assert ("nearsight" in done.out) if code == 0 else ("nowhere" in done.err)


def test_closed_streams(tmp_path: Path) -> None:
    """No file of the program gets the number of one, and nothing fails because of it."""
    place = tmp_path / "first"
    script = (
        "import os, sys\n"
        "from nearsight.__main__ import main\n"
        "sys.argv[1:] = ['--version']\n"
        "try:\n    main()\nfinally:\n"
        f"    open({str(place)!r}, 'x').write(str(os.open(os.devnull, os.O_RDONLY)))\n"
    )
    words = f"os.execv(sys.executable, [sys.executable, '-c', {script!r}])"
    assert python("-c", f"import os, sys; os.closerange(0, 3); {words}").code == 0
    assert int(place.read_text()) > 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_for_what_is_told() -> None:
    """The sentence is lost, the exit code is not."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "nearsight", "info", "nowhere"]
        assert subprocess.run(command, stderr=full, check=False).returncode == 2


def test_a_folder_whose_name_is_no_text(tmp_path: Path, run: Run) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("names are text here")
    ase.io.write(folder / "cu.xyz", bulk("Cu", cubic=True).repeat(2))
    done = run("locality", folder / "cu.xyz", "--atoms", "0", "--radii", "3,4", "--parent", "emt")
    assert done.code == 0, done.err
