"""Tasks of a developer: `nox --list`, `nox -s quick lint`.

Every session has an environment of its own and compiles nearsight once for it; `nox -R` uses the
environment that is there.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "quick"]
nox.options.reuse_venv = "yes"

PROJECT = nox.project.load_toml("pyproject.toml")
TOOLS = ["cmake", "ninja", "cmeel-eigen>=3.4", "nlohmann-json>=3.11"]
OTHER_SYSTEMS = {
    "aarch64-macos": ("Darwin", "arm64"),
    "x86_64-macos": ("Darwin", "x86_64"),
    "x86_64-windows-gnu": ("Windows", "AMD64"),
}
QUICK = "not slow and not gpaw and not slurm and not postgres"


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, minutes; those whose programs are missing are skipped."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that take seconds."""
    session.install(".[test]")
    session.run("pytest", "-m", QUICK, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Format and check everything (.pre-commit-config.yaml)."""
    # mypy reads the types of the dependencies
    session.install(
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["test"],
        *nox.project.dependency_groups(PROJECT, "lint"),
    )
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)


def printed(session: nox.Session, code: str) -> str:
    """What a line of Python prints in the environment of a session."""
    return str(session.run("python", "-c", code, silent=True)).strip()


def install_tools(session: nox.Session, *more: str) -> None:
    """Install CMake and what the core needs, where CMake finds it."""
    session.install(*TOOLS, *more)
    platlib = printed(session, "import sysconfig; print(sysconfig.get_path('platlib'))")
    session.env["CMAKE_PREFIX_PATH"] = platlib


def ctest(session: nox.Session, preset: str) -> None:
    """Build the core by one of CMake's presets and run its tests."""
    install_tools(session)
    session.run("cmake", "--preset", preset)
    session.run("cmake", "--build", "--preset", preset)
    session.run("ctest", "--preset", preset)


@nox.session
def core(session: nox.Session) -> None:
    """Build the core with warnings as errors, and run its own tests (needs GoogleTest)."""
    ctest(session, "dev")


@nox.session
def sanitize(session: nox.Session) -> None:
    """Run the tests of the core under AddressSanitizer and UndefinedBehaviorSanitizer."""
    ctest(session, "sanitize")


@nox.session
def aarch64(session: nox.Session) -> None:
    """Run the tests of the core for 64-bit ARM, emulated (CONTRIBUTING.md says by what)."""
    install_tools(session)
    machine = [
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc",
        "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu",
    ]
    # Debian's libgtest-dev is compiled for this machine, and has its source
    made = str(Path("build/gtest-aarch64/installed").absolute())
    source, build = "/usr/src/googletest", "build/gtest-aarch64"
    session.run("cmake", "-S", source, "-B", build, "-G", "Ninja", "-DBUILD_GMOCK=OFF", *machine)
    session.run("cmake", "--build", build)
    session.run("cmake", "--install", build, "--prefix", made)
    session.run("cmake", "--preset", "dev", "-B", "build/aarch64", f"-DGTest_ROOT={made}", *machine)
    session.run("cmake", "--build", "build/aarch64")
    # threads that wait would take the processor from those that are emulated
    session.env["OMP_WAIT_POLICY"] = "passive"
    session.run("ctest", "--test-dir", "build/aarch64", "--output-on-failure", "--no-tests=error")


@nox.session
@nox.parametrize("target", list(OTHER_SYSTEMS))
def cross(session: nox.Session, target: str) -> None:
    """Compile the core for macOS and Windows by Zig's Clang; one thread, nothing is linked."""
    install_tools(session, "ziglang>=0.13")
    folder = printed(session, "import ziglang; print(ziglang.__path__[0])")
    system, processor = OTHER_SYSTEMS[target]
    session.run(
        "cmake", "--preset", "dev", "-B", f"build/{target}",
        f"-DCMAKE_CXX_COMPILER={folder}/zig;c++;-target;{target}",
        f"-DCMAKE_SYSTEM_NAME={system}",
        f"-DCMAKE_SYSTEM_PROCESSOR={processor}",
        # no program to try the compiler with, for which Zig would compile its whole library first
        "-DCMAKE_CXX_FLAGS=-c",
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
        "-DNEARSIGHT_CPP_TESTS=OFF",
        # the levels of the wheels; for Windows, which has none, Eigen's AVX-512 does not compile
        f"-DNEARSIGHT_ALL_LEVELS={'OFF' if system == 'Windows' else 'ON'}",
        "-DNEARSIGHT_MARCH=-mcpu=x86_64_",
    )  # fmt: skip
    session.run("cmake", "--build", f"build/{target}")


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the quick tests with the lowest versions that pyproject.toml allows."""
    session.install("build", "uv")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", folder)
    session.run("bash", "-c", f".ci/lowest {folder}/*.whl")


@nox.session
def docs(session: nox.Session) -> None:
    """Write the pages made of the code, and run what the pages show."""
    session.install(".[test]")
    session.run("python", "docs/generate.py")
    session.run("pytest", "tests/test_docs.py", "tests/test_examples.py", *session.posargs)


@nox.session
def site(session: nox.Session) -> None:
    """Build the site from docs/ and the other pages, into build/site/."""
    session.install(".", *nox.project.dependency_groups(PROJECT, "docs"))
    session.run("sphinx-build", "-W", "-c", "docs", ".", "build/site", *session.posargs)


@nox.session
def sdist(session: nox.Session) -> None:
    """Build the sdist, and a wheel from it, into dist/."""
    session.install("build", "twine")
    session.run("python", "-m", "build")
    session.run("bash", "-c", "twine check --strict dist/*")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Check every claim of the paper's EMT section; minutes."""
    session.install(".")
    arguments = session.posargs or ["--workdir", "results"]
    session.run("python", "benchmarks/python/reproduce_paper.py", *arguments)
