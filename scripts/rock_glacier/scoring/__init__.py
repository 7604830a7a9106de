"""Scores of predictions: their files, the truth, metrics with intervals, and results for a model card."""
