"""Scores of predictions: their files, the truth, metrics with intervals, and results for a model card."""

THRESHOLD = 0.5
"""Probability from which a tile counts as glaciar."""

REPLICATES = 2000
"""Replicates of the bootstrap."""

MOST_REPLICATES = 100_000
"""With more, an interval moves by less than what it is itself uncertain by."""
