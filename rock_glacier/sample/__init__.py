"""Synthetic terrain, the tiles that are cut from it, and faults to plant: a stand-in for the dataset."""

DEFAULT_SIZES = {"train": 70, "validation": 10, "test": 24}
"""Number of tiles in each split of a sample: about the proportions of the release."""
