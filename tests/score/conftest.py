"""Scenes that tests cut into overlapping tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rock_glacier.score.mosaics import make_mosaics
from rock_glacier.score.truth import PLACE_COLUMNS, Truth
from rock_glacier.sites.orientations import INVERSE, oriented


@dataclass(frozen=True)
class Cut:
    """Tiles that are cut from scenes.

    Attributes:
        places: A row for each tile: site, block, x, y, orientation, epsg, easting, northing.
    """

    places: Any

    def tiles(self, *scenes: Any) -> Any:
        """Cut uint8 tiles of shape (tiles, 128, 128) from the scene of each site."""
        tiles = [
            oriented(
                scenes[place.site][place.y : place.y + 128, place.x : place.x + 128],
                INVERSE[place.orientation],
            )
            for place in self.places.itertuples()
        ]
        return np.stack(tiles).astype(np.uint8)

    def truth(self, *scenes: Any) -> Truth:
        """Return the truth of the tiles of scenes of 0 and 1."""
        paths = [f"test/glaciar/{row}.png" for row in range(len(self.places))]
        return Truth(
            config="image-segmentation",
            split="test",
            source="scenes",
            commit=None,
            is_sample=False,
            paths=paths,
            values=self.tiles(*scenes),
            index=self.places.assign(path=paths),
        )

    def mosaics(self, true: list[Any], predicted: list[Any]) -> list[Any]:
        """Merge the tiles of scenes of 0 and 1, true and predicted."""
        return list(make_mosaics(self.truth(*true), 255 * self.tiles(*predicted), 0.5))


@pytest.fixture
def cut():
    """Return a function that makes a `Cut` from rows (site, x, y, orientation)."""

    def make(*rows: tuple[int, int, int, int], **columns: Any) -> Cut:
        places = pd.DataFrame(rows, columns=["site", "x", "y", "orientation"])
        return Cut(places.reindex(columns=[*PLACE_COLUMNS]).assign(**{"block": 0, **columns}))

    return make
