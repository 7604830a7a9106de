"""Plain models to compare with: features, classifiers of tiles and of pixels, and the leak experiment."""

MODELS = {"image-classification": ("linear", "forest"), "image-segmentation": ("pixels",)}
"""The models for each config."""
