"""The tools behind the Rock Glacier dataset: build, check, publish and score its archives."""
