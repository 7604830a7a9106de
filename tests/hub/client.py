"""Clients of the loopback Hub: processes of their own that use the real `huggingface_hub`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hub.server import HubServer, client_environment

REPO_ID = "alkzar90/rock-glacier-dataset"
OWNER = "alkzar90"
TOKEN = "hf_owner"

# The clients' own waits between two tries are noted, and left out.
_PRELUDE = """\
import json, time
waits = []
time.sleep = waits.append
from huggingface_hub import CommitOperationAdd as Add, CommitOperationCopy as Copy, CommitOperationDelete as Delete
from huggingface_hub import HfApi, HfFileSystem, constants, hf_hub_download, snapshot_download
from huggingface_hub.utils import get_session
api = HfApi()
repo_id = "alkzar90/rock-glacier-dataset"
dataset = {"repo_id": repo_id, "repo_type": "dataset"}
def commit(*operations, **keywords):
    return api.create_commit(operations=operations, **{**dataset, "commit_message": "upload", **keywords})
def fault_of(call, *arguments, **keywords):
    try:
        call(*arguments, **keywords)
    except Exception as error:
        response = getattr(error, "response", None)
        headers = dict(response.headers) if response is not None else {}
        status = response.status_code if response is not None else None
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return {"kinds": kinds, "status": status, "text": str(error), "headers": headers}
def name_of_fault(call, *arguments, **keywords):
    fault = fault_of(call, *arguments, **keywords)
    return fault and fault["kinds"]
"""


def run_client(server: HubServer, home: Path, body: str, **environment: str) -> Any:
    """Run `body` in a process of its own, with the clients imported, and return what it leaves in `result`."""
    return finish_client(start_client(server, home, body, **environment))


def start_client(server: HubServer, home: Path, body: str, **environment: str) -> subprocess.Popen[str]:
    """Start what `run_client` runs."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{_PRELUDE}{body}\nprint(json.dumps(result))\n"],
        env=client_environment(server, home) | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_client(client: subprocess.Popen[str]) -> Any:
    """Wait for what `start_client` has started, and return what it leaves in `result`."""
    output, errors = client.communicate()
    assert client.returncode == 0, errors
    return json.loads(output.splitlines()[-1])
