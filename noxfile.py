"""Test loading with every supported version of `datasets`, each in its own environment."""

import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["matrix"]
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True

# The oldest supported version, the last 2, the last 3, the first and the last 4, and the newest.
DATASETS_VERSIONS = ["2.14.7", "2.21.0", "3.6.0", "4.0.0", "4.8.5", "5.2.0"]

# The other versions handle bad archives as these two do.
VERSIONS_FOR_ALL_TESTS = ["2.14.7", "5.2.0"]

LOADING_TESTS = [
    "tests/dataset/test_load.py",
    "tests/dataset/test_script.py",
    "tests/core/test_arrays.py",
    "tests/hub/test_published.py",
]

SAMPLE = Path("build/sample")
STAGED = Path("build/staged")


@nox.session
def staged(session: nox.Session) -> None:
    """Stage a sample with the environment that nox runs in; old versions cannot stage."""
    for folder in (SAMPLE, STAGED):
        shutil.rmtree(folder, ignore_errors=True)
    python = sys.executable
    session.run(python, "scripts/sample.py", str(SAMPLE), "--train", "12", external=True)
    session.run(python, "scripts/stage.py", str(SAMPLE), str(STAGED), external=True)


@nox.session(requires=["staged"])
@nox.parametrize("version", DATASETS_VERSIONS, ids=DATASETS_VERSIONS)
def matrix(session: nox.Session, version: str) -> None:
    """Load archives, the loading script and a staged repository."""
    session.install("--upgrade", "-e", ".[test-loading]", f"datasets=={version}")
    tests = ["tests/dataset", *LOADING_TESTS[2:]]
    if version not in VERSIONS_FOR_ALL_TESTS:
        tests = LOADING_TESTS
    environment = {"ROCK_GLACIER_STAGED": str(STAGED.resolve())}
    options = ["-q", "-n", "auto", "--dist=load"]
    session.run("python", "-m", "pytest", *options, *tests, *session.posargs, env=environment)


@nox.session(default=False)
def training(session: nox.Session) -> None:
    """Run every block of docs/training.md; installs about 8 GB."""
    torch = ["torch", "torchvision", "transformers", "accelerate", "kornia", "torchgeo"]
    session.install("-e", ".[test]", *torch, "jax", "flax", "optax", "ray[data]")
    session.run("python", "-m", "pytest", "-q", "tests/test_training.py", *session.posargs)
