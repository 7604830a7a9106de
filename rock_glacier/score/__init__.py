"""Scores of predictions: their files, the truth, metrics with intervals, reports and folds."""
