"""Check everything about a folder of archives."""
