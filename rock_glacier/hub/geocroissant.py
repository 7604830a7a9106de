"""The ground that the tiles show, in the terms of GeoCroissant 1.0.

Format: https://docs.mlcommons.org/croissant/docs/croissant-geo-spec.html
"""

from __future__ import annotations

from typing import Any

import geopandas
import pandas as pd
import shapely

from rock_glacier.audit.geography import describe_geography
from rock_glacier.output import count
from rock_glacier.places.outlines import PIXEL

ZONES = {
    "Atacama": (-28.52, -69.82, -28.14, -69.44),
    "Huasco": (-29.35, -70.30, -28.98, -69.83),
    "Argentina (the curators' name)": (-33.41, -69.89, -32.70, -69.34),
}
"""The zones of the curators: south, west, north and east in degrees.

Measured on `data/glaciares` and `data/extents` in their repository.
"""

_ELSEWHERE = "Outside the curators' zones"
_NOT_LOCATED = "The curators have outlines of rock glaciers in this zone. No tile is located here."

# Bands of Sentinel-2 in the order of the channels, with their central wavelength in nm.
# https://gdal.org/en/stable/drivers/raster/sentinel2.html
_BANDS = {"B04": ("red", 665), "B03": ("green", 560), "B02": ("blue", 490)}

_SAMPLING = (
    "By the code of the curators' repository, the centres of tiles are drawn at random within an "
    "area, less often near earlier centres. Each tile is cut from an image drawn at random among "
    "several of the same zone. It is then rotated by a random number of quarter turns and "
    "sometimes transposed. The masks of the release's test split show that it was made this way."
)


def describe_bands() -> dict[str, Any]:
    """Return GeoCroissant's description of the channels of a tile."""
    bands = [
        {
            "@type": "geocr:SpectralBand",
            "name": name,
            "description": colour,
            "geocr:centerWavelength": _make_quantity(wavelength, "nm"),
        }
        for name, (colour, wavelength) in _BANDS.items()
    ]
    configuration = {
        "@type": "geocr:BandConfiguration",
        "geocr:totalBands": len(_BANDS) + 1,
        "geocr:bandNameList": [*_BANDS, "alpha"],
    }
    return {"geocr:bandConfiguration": configuration, "geocr:spectralBandMetadata": bands}


def _make_quantity(value: int, unit: str) -> dict[str, Any]:
    return {"@type": "sc:QuantitativeValue", "value": value, "unitText": unit}


def describe_ground(index: pd.DataFrame, is_sample: bool) -> dict[str, Any]:
    """Return GeoCroissant's description of the ground that the tiles show."""
    grids = index["epsg"].dropna().unique()
    # The grid of the located tiles if there is only one, otherwise the CRS of the boxes.
    epsg = grids[0] if len(grids) == 1 else 4326
    return {
        "spatialCoverage": _list_places(index, is_sample),
        "geocr:coordinateReferenceSystem": f"EPSG:{epsg}",
        "geocr:spatialResolution": _make_quantity(PIXEL, "m"),
        "geocr:samplingStrategy": _SAMPLING,
        "geocr:spatialBias": _describe_bias(index),
    }


def _list_places(index: pd.DataFrame, is_sample: bool) -> list[dict[str, Any]]:
    """Return the box of the located tiles of each zone.

    A zone without located tiles gets the curators' box, unless the tiles are synthetic or all tiles
    are located.
    """
    boxes = [shapely.box(west, south, east, north) for south, west, north, east in ZONES.values()]
    zones = geopandas.GeoDataFrame({"zone": list(ZONES)}, geometry=boxes, crs="EPSG:4326")
    footprints = geopandas.GeoSeries.from_wkb(index["geometry"].dropna(), crs="EPSG:4326")
    located = footprints.to_frame("geometry").sjoin(zones, how="left")
    located["zone"] = located["zone"].fillna(_ELSEWHERE)
    all_known = is_sample or len(located) == len(index)
    places = []
    for name in (*ZONES, _ELSEWHERE):
        tiles = located[located["zone"] == name]
        if len(tiles):
            west, south, east, north = tiles.total_bounds
            text = f"Footprints of {count(len(tiles), 'located tile')}."
            places.append(_make_place(name, text, (south, west, north, east)))
        elif name in ZONES and not all_known:
            places.append(_make_place(name, _NOT_LOCATED, ZONES[name]))
    return places


def _make_place(name: str, text: str, box: tuple[float, float, float, float]) -> dict[str, Any]:
    corners = " ".join(str(round(float(degrees), 5)) for degrees in box)  # to a metre
    shape = {"@type": "sc:GeoShape", "box": corners}
    return {"@type": "sc:Place", "name": name, "description": text, "geo": shape}


def _describe_bias(index: pd.DataFrame) -> str:
    """Describe how little ground the tiles show."""
    sites = index["site"].value_counts()
    text = (
        "The tiles come from a few zones of the Andes. The data cannot show how a model performs "
        f"elsewhere. {count(len(index), 'tile')} show {count(len(sites), 'site')}, places whose "
        f"tiles share ground. The largest site has {count(sites.max(), 'tile')}."
    )
    geography = describe_geography(index)
    if geography is None:
        return f"{text} No tile is located."
    for split, numbers in geography.to_json()["splits"].items():
        text += (
            f" In the split {split}, {count(numbers['tiles'], 'located tile')} cover "
            f"{numbers['area_km2']} km2, the area of {numbers['area_in_tiles']} tiles."
        )
    return text
