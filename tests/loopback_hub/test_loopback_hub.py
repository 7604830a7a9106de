"""The loopback Hub is as faithful as the tests that use it take it to be, and counts right."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import http.client
import json
import subprocess
import sys

import pytest

from hub.server import HubServer, client_environment

REPO_ID, ARCHIVE = "alkzar90/rock-glacier-dataset", bytes(range(256)) * 4000


@pytest.fixture
def server():
    with HubServer() as running:
        running.add_repository(REPO_ID, {"data/train.zip": ARCHIVE})
        yield running


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=500000-500299", 206, ARCHIVE[500_000:500_300]),
        ("bytes=-7", 206, ARCHIVE[-7:]),
        ("bytes=1023990-", 206, ARCHIVE[-10:]),
        ("bytes=1024000-", 416, None),
    ],
)
def test_ranges_are_answered_by_rfc_9110_and_counted(server, asked, status, body):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.request("GET", f"/datasets/{REPO_ID}/resolve/main/data/train.zip", headers={"Range": asked})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert (answer.status, content) == (status, content if body is None else body)
    assert [(request.range, request.bytes_sent) for request in server.requests] == [(asked, len(content))]


def test_no_request_leaves_the_machine_and_no_setting_of_the_user_gets_in(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_mine")
    code = """
import json
from huggingface_hub import constants
from huggingface_hub.utils import get_session

def answer(url):
    try:
        return get_session().get(url).status_code
    except Exception as error:
        return type(error).__name__

viewer = constants.ENDPOINT.replace("://", "://datasets-server.") + "/info"
print(json.dumps([answer(viewer), answer("https://huggingface.co/api")]))
"""
    environment = client_environment(server, tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [404, "ProxyError"]
    assert [request.foreign for request in server.requests] == [True, True]
    assert not any("hf_mine" in value for value in environment.values())
