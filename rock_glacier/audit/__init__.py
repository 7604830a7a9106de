"""Check a folder of archives and report every fault."""
