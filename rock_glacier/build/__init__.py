"""Build archives from tiles and masks, and assign them to splits."""
