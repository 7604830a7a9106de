"""Fixtures of the tests of staging and upload."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import factories
import huggingface_hub
import numpy as np
import pytest
from loopback_hub import LoopbackHub

TOKEN = "hf_secret"


@pytest.fixture(scope="session")
def staged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, staged. Do not change it.

    If the environment variable ROCK_GLACIER_STAGED names a folder, it is used instead: with old
    versions of `datasets`, staging cannot be installed.
    """
    if "ROCK_GLACIER_STAGED" in os.environ:
        return Path(os.environ["ROCK_GLACIER_STAGED"])
    from rock_glacier.hub.staging import stage
    from rock_glacier.parallel import Workers

    folder = tmp_path_factory.mktemp("hub") / "staged"
    stage(request.getfixturevalue("sample"), folder, workers=Workers(1))
    return folder


@pytest.fixture(scope="session")
def staged_located(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample staged with its true index, in which all tiles are located. Do not change it."""
    from rock_glacier.hub.staging import stage
    from rock_glacier.parallel import Workers
    from rock_glacier.synthetic import make_sample

    folder = tmp_path_factory.mktemp("hub")
    sample = folder / "sample"
    make_sample(sample, train=6, validation=3, test=3, outlines=True)
    index_file = sample / "true_tiles.parquet"
    stage(sample, folder / "located", index_file=index_file, workers=Workers(1))
    return folder / "located"


@pytest.fixture
def staged_copy(staged: Path, tmp_path: Path) -> Path:
    """A copy of `staged` that the test may change."""
    return factories.copy(staged, tmp_path / "staged")


@pytest.fixture(scope="session")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives of six tiles without a manifest. A train tile overlaps a test tile by 60 %."""
    scene = factories.noise_scene(1, 158, 158)
    tiles = {
        "train/cordillera/1.png": factories.png(scene[:128, :128]),
        "test/cordillera/2.png": factories.png(scene[30:, 28:156]),
        "train/glaciar/3.png": factories.png(3),
        "val/cordillera/4.png": factories.png(4),
        "val/glaciar/5.png": factories.png(5),
        "test/glaciar/6.png": factories.png(np.rot90(factories.noise_scene(6))),
    }
    return factories.make_data_dir(tmp_path_factory.mktemp("hub") / "overlapping", tiles)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A Hub with the token of the user alkzar90."""
    with LoopbackHub(tokens={TOKEN: "alkzar90"}) as running:
        yield running


@pytest.fixture
def api(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> huggingface_hub.HfApi:
    """The real client of the Hub, with the user's token."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    return huggingface_hub.HfApi(endpoint=hub.url, token=TOKEN)
