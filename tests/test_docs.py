"""What the documentation shows is run, and what it names is there.

Every page is worked through from top to bottom in a folder of its own, in which a particle of 55
atoms stands in for those the pages speak of and training is short:

* ``python`` blocks are executed, one after the other in one namespace;
* a block with a file name (```` ```toml nft.toml ````) is written to that file;
* the ``nearsight`` commands of ``sh`` blocks, and of ``console`` blocks behind a ``$``, are run; of
  the output shown below one, every line must have been printed, but for its numbers;
* ``toml`` blocks are parts of a configuration and must be valid;
* ``jsonc`` blocks with a file name show some of that file: its keys, with comments.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import ase.io
import pytest
from ase import Atoms
from ase.cluster.octahedron import Octahedron
from markdown_it import MarkdownIt
from markdown_it.token import Token

import nearsight.report.page
from helpers.cli import run_command
from nearsight.config import Config

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "nearsight"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
RUN_FOLDER = ROOT / "docs" / "run-folder.md"
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "benchmarks/*.md",
        "lammps/*.md",
        "tests/validation/*.md",
    )
    for path in ROOT.glob(pattern)
)
MADE = {"configuration.md", "command-line.md"}  # of the code: their examples are tested with it
LANGUAGES = {"console", "jsonc", "python", "sh", "toml"}
NOT_RUN = {
    ".", "cmake", "ctest", "git", "nox", "pip", "pre-commit", "pytest", "python", "sphinx-build",
}  # fmt: skip
FILES = {"cp", "mkdir"}
QUICK = {
    "init": "--n-rattled 3",
    "train": "--members 2 --hidden-layers 4 --initial-iterations 5",
    "retrain": "--max-rounds 1 --target-chunks 0",
    "nft": "--members 2 --hidden-layers 4 --initial-iterations 5 --iterations 3 --max-chunks 4",
}
"""Options that make a command short; given twice, the last counts."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@functools.cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))


def inline(page: Path, kind: str) -> Iterator[Token]:
    for token in tokens(page):
        yield from (child for child in token.children or () if child.type == kind)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it stands for, its text and line."""

    language: str
    file: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    found = []
    for token in tokens(page):
        if token.type == "fence":
            language, _, file = token.info.partition(" ")
            found.append(Block(language, file, token.content, (token.map or [0])[0] + 1))
    return found


# running what the pages show


def quickened(config: Config) -> Config:
    """The same configuration with short training."""
    nft = {"chunks_per_iteration": 10, "max_chunks": 20}
    changes: dict[str, dict[str, Any]] = {
        "network": {"hidden_layers": (6,)},
        "training": {"initial_iterations": 15, "iterations": 15},
        "ensemble": {"members": 3},
        "nft": nft,
    }
    sections = {key: getattr(config, key).model_copy(update=new) for key, new in changes.items()}
    return config.model_copy(update=sections)


@contextlib.contextmanager
def short_training() -> Iterator[None]:
    """Every configuration that is read gets short training; reports come without figures."""
    parse = Config.parse.__func__  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Config, "parse", classmethod(lambda *given, **named: quickened(parse(*given, **named)))
        )
        patch.setattr(nearsight.report.page, "png", lambda figure: b"")
        patch.setattr(nearsight.report.page, "svg", lambda figure, name, title: "")
        yield


def command(*arguments: str) -> str:
    """Run a command; what it prints."""
    with short_training():
        code, out, err = run_command(*arguments)
    assert code in (0, 3), err  # with few steps relaxations and dynamics end early
    return out


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files the pages speak of, made by the first command of the README."""
    folder = tmp_path_factory.mktemp("workshop")
    cluster = Octahedron("Pt", 5, 2, latticeconstant=3.99)
    particle = Atoms(cluster.symbols, cluster.positions)
    particle.rattle(0.1, seed=42)
    examples = folder / "examples"
    examples.mkdir()
    shutil.copy(ROOT / "examples" / "pt260_emt.toml", examples)
    ase.io.write(examples / "pt260.extxyz", particle)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command("run", "examples/pt260_emt.toml")
    shutil.copytree(examples, folder, dirs_exist_ok=True)
    shutil.copy(folder / "pt260.extxyz", folder / "particle.xyz")
    for name in ("best.json", "initial.extxyz", "selected.extxyz", "symmetry_functions.json"):
        shutil.copy(folder / "pt260_emt" / name, folder)
    return folder


def skeleton(line: str) -> str:
    """A line without its numbers and its spaces."""
    return " ".join(re.sub(r"[-+]?\d[\d.]*(e[-+]\d+)?", "0", line).split())


def run_console(block: Block, where: str) -> None:
    """Run the commands of a block and look for the output shown."""
    printed: set[str] = set()
    for line in block.text.splitlines():
        if block.language == "console" and not line.startswith("$ "):
            assert skeleton(line) in printed, f"{where}: not printed: {line}"
            continue
        printed = {""}
        for each in line.removeprefix("$ ").split(" && "):
            words = shlex.split(each, comments=True)
            program, *arguments = words[words[0].startswith("OMP_NUM_THREADS=") :]
            if program == "nearsight":
                extra = QUICK.get(arguments[0], "").split()
                output = command(*arguments, *extra)
                printed |= set(map(skeleton, output.splitlines()))
            elif program in FILES:
                subprocess.run([program, *arguments], check=True)
            elif not program.startswith("build/"):
                assert program in NOT_RUN, f"{where}: what is {program}?"
                if program == "python" and arguments[0] != "-m":
                    assert (ROOT / arguments[0]).is_file(), f"{where}: there is no {arguments[0]}"


def check_toml(text: str) -> None:
    """A whole configuration or a part of one."""
    head = "" if "[target]" in text else '[target]\nstructure = "x.xyz"\n'
    Config.parse(f"{head}\n{text}")


def keys_of(content: Any) -> set[str]:
    if isinstance(content, dict):
        return set(content).union(*map(keys_of, content.values()))
    return set().union(*map(keys_of, content)) if isinstance(content, list) else set()


def check_excerpt(text: str, file: Path) -> None:
    """The keys that an excerpt shows are in the file, and all on the file's top are shown."""
    content = json.loads(file.read_text(encoding="utf-8"))
    shown = set(re.findall(r'"([\w-]+)":', re.sub(r"//.*", "", text)))
    assert shown <= keys_of(content)
    assert set(content) <= shown


@pytest.fixture
def folder(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a page; modules written there are forgotten afterwards."""
    folder = shutil.copytree(workshop, tmp_path / "page")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or ROOT).is_relative_to(folder):
            del sys.modules[name]


RUN = [
    page
    for page in PAGES
    if page.name not in MADE and any(block.language in LANGUAGES for block in blocks(page))
]


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_page(page: Path, workshop: Path, folder: Path) -> None:
    found = [each for each in blocks(page) if each.language in LANGUAGES]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in found:
        where = f"{name_of(page)}:{block.line}"
        if block.language == "jsonc":
            places = workshop.rglob(block.file)
            check_excerpt(block.text, max(places, key=lambda path: path.parent.name))  # the last
            continue
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        if block.language in {"console", "sh"}:
            run_console(block, where)
        elif block.language == "toml":
            check_toml(block.text)
        else:
            code = compile(block.text, where, "exec")
            if not block.file:
                exec(code, namespace)


# what the pages name


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    found = tokens(page)
    return {
        slug(following.content.replace("`", ""))
        for token, following in pairwise(found)
        if token.type == "heading_open"
    }


@every_page
def test_links(page: Path) -> None:
    links = [str(link.attrGet("href")) for link in inline(page, "link_open")]
    links += [str(image.attrGet("src")) for image in inline(page, "image")]
    for link in links:
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_nothing_of_the_author_s_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|usr|opt)/", page.read_text("utf-8"))


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_made_of_the_code_are_up_to_date() -> None:
    made = generator().pages()
    assert {path.name for path in made} == MADE
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, "run python docs/generate.py"


def test_architecture_names_every_room_and_no_other() -> None:
    named = {code.content for code in inline(ARCHITECTURE, "code_inline")}
    places = [ROOT, PACKAGE, ROOT / "cpp", ROOT / "docs"]
    files = {name for name in named if re.fullmatch(r"[\w./-]+(/|\.(py|pyi|[ch]pp|toml|md))", name)}
    missing = [
        name
        for name in files
        if not any((place / name).exists() for place in places)
        and not any(PACKAGE.glob(f"*/{name}"))
    ]
    assert missing == []
    rooms = {
        path.name + "/" * path.is_dir()
        for path in PACKAGE.iterdir()
        if (path.is_dir() or path.suffix == ".py") and not path.name.startswith("__")
    }
    assert rooms <= named


def test_every_file_of_a_run_is_listed(workshop: Path) -> None:
    (listing,) = (block.text for block in blocks(RUN_FOLDER) if block.file == "run-folder")
    listed = set(re.findall(r"[\w-]+\.(?:db|extxyz|html|json|lock|log|png|toml|traj)", listing))
    listed.remove("failures.json")  # nothing fails there
    listed -= {"geometries.extxyz", "validation.traj"}  # labels = "target"
    run = workshop / "pt260_emt"
    assert listed == {path.name for path in run.rglob("*") if path.is_file()}


def test_files_are_short() -> None:
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "cpp").rglob("*.?pp")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    assert {path: length for path, length in lengths.items() if length > 400} == {}
