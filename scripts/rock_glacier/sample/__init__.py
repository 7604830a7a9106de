"""Synthetic terrain, the tiles that are cut from it, and faults to plant: a stand-in for the dataset."""
