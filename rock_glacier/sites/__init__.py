"""Find tiles that show the same ground, and their positions relative to each other."""

from rock_glacier.sites.search import Sites, find_sites

__all__ = ["Sites", "find_sites"]
