"""Plain models to compare with: features, classifiers of tiles and of pixels, and the leak experiment."""
