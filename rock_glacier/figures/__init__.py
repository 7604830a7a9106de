"""The pictures of the dataset card."""
