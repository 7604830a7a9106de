"""Scripts run in the process of the tests: one of their own takes seconds to start."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub
import pytest
from conftest import REPOSITORY
from hub.server import HubServer, client_environment
from huggingface_hub import HfFileSystem, constants

SCRIPTS = REPOSITORY / "scripts"


def run_script(script: str, *arguments: object, folder: Path) -> int:
    """Run a script in a folder as Python would, and return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        patch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


@contextlib.contextmanager
def client_of(server: HubServer, home: Path, **environment: str) -> Iterator[None]:
    """Let `huggingface_hub` in this process, and what it starts, use a server, and the caches and token in `home`."""
    variables = client_environment(server, home) | environment
    settings: dict[str, Any] = {
        "ENDPOINT": server.url,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
        "HF_TOKEN_PATH": str(home / "token"),
        "HUGGINGFACE_CO_URL_TEMPLATE": constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url),
    }
    with (
        mock.patch.dict(os.environ, variables, clear=True),
        mock.patch.multiple(constants, **settings),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)  # of which the client is full
        huggingface_hub.close_session()
        HfFileSystem.clear_instance_cache()
        try:
            yield
        finally:
            huggingface_hub.close_session()
            HfFileSystem.clear_instance_cache()
