"""Scores of predictions: their files, the truth, metrics with intervals, and results for a model card."""

THRESHOLD = 0.5
"""Probability from which a tile counts as glaciar, and a pixel as rock glacier."""

TOLERANCE = 2.0
"""Pixels by which a boundary may be off."""

REPLICATES = 2000
"""Replicates of the bootstrap."""
