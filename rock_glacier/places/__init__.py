"""Outlines of rock glaciers, and the places of tiles on the map."""
