"""Whom the loopback Hub knows in the tests, and which repository they use."""

REPO_ID = "alkzar90/rock-glacier-dataset"
OWNER = "alkzar90"
TOKEN = "hf_owner"
