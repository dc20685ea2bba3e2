"""Tasks of a developer: `nox --list`, `nox -s quick lint`.

Every session has an environment of its own and compiles nearsight once for it; `nox -R` uses the
environment that is there.
"""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "quick"]
nox.options.reuse_venv = "yes"

PROJECT = nox.project.load_toml("pyproject.toml")
TOOLS = ["cmake", "ninja", "cmeel-eigen>=3.4", "nlohmann-json>=3.11"]
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


def ctest(session: nox.Session, preset: str) -> None:
    """Build the core by one of CMake's presets and run its tests."""
    session.install(*TOOLS)
    platlib = session.run(
        "python", "-c", "import sysconfig; print(sysconfig.get_path('platlib'))", silent=True
    )
    session.env["CMAKE_PREFIX_PATH"] = str(platlib).strip()
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
