"""A Hugging Face Hub on the loopback interface, for tests with the real clients.

    with LoopbackHub() as hub:
        hub.add_repository("alkzar90/rock-glacier-dataset", {"README.md": b"# Rock glaciers"})
        environment = client_environment(hub, tmp_path)
        subprocess.run([sys.executable, "client.py"], env=environment, check=True)
        assert hub.bytes_sent("README.md") == 15

It needs the standard library only and imports nothing of the project.
"""

from loopback_hub.repository import Repository
from loopback_hub.server import LoopbackHub, client_environment

__all__ = ["LoopbackHub", "Repository", "client_environment"]
