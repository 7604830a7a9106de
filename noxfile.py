"""The tests on every version of `datasets` that the dataset is for, each in an environment of its own: `nox`.

`nox -s fuzz -- --seconds 600` runs each fuzzer for ten minutes; without seconds, for one.
"""

from pathlib import Path

import nox

nox.options.sessions = ["matrix"]
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True

DATASETS_VERSIONS = ["2.14.7", "2.21.0", "3.6.0", "4.0.0", "4.8.5", "5.2.0"]
"""The oldest that the dataset is for, the last 2, the last 3, the first and the last 4, and the newest."""

TESTS = [
    "dataset/test_rock_glacier_dataset",
    "dataset/test_arrays",
    "dataset/test_loading_script",
    "publication/test_published",
]
MORE_TESTS = ["dataset/test_bad_archives", "dataset/test_hub"]

WITHOUT_MORE = ["2.21.0", "3.6.0", "4.0.0", "4.8.5"]
"""The oldest and the newest show how `datasets` takes what our own code does with bad archives."""


@nox.session
@nox.parametrize("version", DATASETS_VERSIONS, ids=DATASETS_VERSIONS)
def matrix(session: nox.Session, version: str) -> None:
    """Load from folders and a Hub, as module and as script, and publish and load that; newest pyarrow and numpy."""
    session.install("--upgrade", "-e", ".[test-loading]", f"datasets=={version}")
    names = TESTS + ([] if version in WITHOUT_MORE else MORE_TESTS)
    tests = [f"tests/{name}.py" for name in names]
    session.run("python", "-m", "pytest", "-q", "-n", "auto", "--dist=load", *tests, *session.posargs)


@nox.session(default=False)
def training(session: nox.Session) -> None:
    """Run every block of docs/training.md, with what is too large for CI: some 8 GB."""
    torch = ["torch", "torchvision", "transformers", "accelerate", "kornia", "torchgeo"]
    session.install("-e", ".[test]", *torch, "jax", "flax", "optax", "ray[data]")
    session.run("python", "-m", "pytest", "-q", "tests/test_training.py", *session.posargs)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Change archives, PNG files and tables, and end commands, at random; docs/architecture.md says what that found."""
    session.install("-e", ".[curate,evaluate,publish]")
    for fuzzer in sorted(Path("tests/fuzz").glob("fuzz_*.py")):
        session.run("python", str(fuzzer), *session.posargs)
