"""The tile index keeps its values and types, and other clients can read it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rock_glacier.archives import sort_key
from rock_glacier.index import check_index, make_index, read_index, write_index
from rock_glacier_dataset import ArchiveError

PATHS = [
    f"{split}/glaciar/{number:03d}.png" for split in ("test", "val", "train") for number in range(4)
]
SPLITS = ["test"] * 4 + ["validation"] * 4 + ["train"] * 4


@pytest.fixture
def table() -> pd.DataFrame:
    """The columns that every index needs; x tells the rows apart."""
    return pd.DataFrame(
        {
            "path": PATHS,
            "split": SPLITS,
            "label": "glaciar",
            "mask_share": np.linspace(0.1, 0.9, 12),
            "site": 0,
            "x": range(12),
            "y": 0,
            "orientation": 3,
            "archive": "is not part of the index",
        }
    )


def test_rows_are_in_the_published_order(table):
    index = make_index(table)
    assert index["split"].tolist() == ["train"] * 4 + ["validation"] * 4 + ["test"] * 4
    for _, rows in index.groupby("split", sort=False):
        assert rows["path"].tolist() == sorted(rows["path"], key=sort_key)
    assert [PATHS[x] for x in index["x"]] == index["path"].tolist()
    assert "archive" not in index


def test_an_index_without_locations_keeps_values_and_types(table, tmp_path):
    index = make_index(table)
    write_index(index, tmp_path / "tiles.parquet")
    again = read_index(tmp_path / "tiles.parquet")
    assert again.dtypes.tolist() == index.dtypes.tolist()
    pd.testing.assert_frame_equal(
        again.drop(columns="outlines"), index.drop(columns="outlines"), check_exact=True
    )
    assert [list(names) for names in again["outlines"]] == [[]] * 12
    schema = pq.read_schema(tmp_path / "tiles.parquet")
    assert schema.field("longitude").type == pa.float64()
    assert schema.field("epsg").type == pa.int32()
    assert schema.field("outlines").type == pa.list_(pa.string())
    assert schema.field("geometry").type == pa.binary()


def test_the_same_index_gives_the_same_bytes(table, tmp_path):
    for name in ("a", "b"):
        write_index(make_index(table), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_geopandas_polars_and_duckdb_read_it(table, tmp_path):
    geopandas = pytest.importorskip("geopandas")
    polars = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    file = tmp_path / "tiles.parquet"
    write_index(make_index(table), file)
    frame = geopandas.read_parquet(file)
    assert frame.crs == "EPSG:4326"
    assert frame.geometry.isna().all()
    assert polars.read_parquet(file)["site"].to_list() == [0] * 12
    assert duckdb.sql(f"SELECT max(x) FROM '{file}'").fetchall() == [(11,)]


@pytest.fixture
def located(table) -> pd.DataFrame:
    """The table with locations of the first ten tiles, in two UTM zones."""
    footprints = pytest.importorskip("rock_glacier.places.footprints")
    places = pd.DataFrame(
        {
            "epsg": [32718, 32719] * 5,
            "easting": 431_000.0 + 10 * np.arange(10),
            "northing": 6_313_000.0,
            "longitude": -69.7,
            "latitude": -33.3,
            "located_by": "outlines",
        }
    )
    polygons = footprints.footprint_polygons(places.epsg, places.easting, places.northing)
    located = pd.concat([table, places], axis=1)
    located["geometry"] = [*(polygon.wkb for polygon in polygons), None, None]
    located["outlines"] = [["glaciar_t_1", "glaciar_t_2"], []] * 6
    return located


def test_locations_and_outlines_are_kept(located, tmp_path):
    index = make_index(located)
    write_index(index, tmp_path / "tiles.parquet")
    again = read_index(tmp_path / "tiles.parquet")
    columns = ["epsg", "easting", "northing", "longitude", "latitude", "located_by", "geometry"]
    pd.testing.assert_frame_equal(again[columns], index[columns])
    assert again["easting"].notna().sum() == 10
    assert again["geometry"].isna().tolist() == again["easting"].isna().tolist()
    for row in again.to_dict("records"):
        expected = [] if row["x"] % 2 else ["glaciar_t_1", "glaciar_t_2"]
        assert list(row["outlines"]) == expected


def test_types_do_not_depend_on_locations(table, located, tmp_path):
    write_index(make_index(table), tmp_path / "none")
    write_index(make_index(located), tmp_path / "some")
    write_index(make_index(located[:10]), tmp_path / "all")
    schema = pq.read_schema(tmp_path / "none")
    assert pq.read_schema(tmp_path / "some").equals(schema)
    assert pq.read_schema(tmp_path / "all").equals(schema)
    write_index(make_index(table[:0]), tmp_path / "no tiles")
    assert pq.read_schema(tmp_path / "no tiles").equals(schema)


def test_footprints_are_squares_for_geopandas(located, tmp_path):
    geopandas = pytest.importorskip("geopandas")
    shapely = pytest.importorskip("shapely")
    write_index(make_index(located), tmp_path / "tiles.parquet")
    frame = geopandas.read_parquet(tmp_path / "tiles.parquet")
    assert frame.crs == "EPSG:4326"
    frame = frame[frame["epsg"].notna()]
    for epsg, tiles in frame.groupby("epsg"):
        assert len(tiles) == 5
        west, north = tiles["easting"], tiles["northing"]
        squares = shapely.box(west, north - 1280, west + 1280, north)
        difference = shapely.hausdorff_distance(tiles.geometry.to_crs(int(epsg)), squares)
        assert difference.max() < 1


def test_pandas_polars_and_duckdb_read_locations(located, tmp_path):
    polars = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    file = tmp_path / "tiles.parquet"
    write_index(make_index(located), file)
    frames = [pd.read_parquet(file), polars.read_parquet(file).to_pandas()]
    # Without its spatial extension, DuckDB reads the geometry as bytes.
    frames.append(duckdb.sql(f"SELECT * FROM '{file}'").df())
    for frame in frames:
        assert frame["easting"].sum() == 4_310_450
        assert frame["outlines"].map(len).sum() == 12
        assert frame["geometry"].isna().sum() == 2


def change(file, column, values):
    table = pq.read_table(file)
    position = table.column_names.index(column)
    pq.write_table(table.set_column(position, column, pa.array(values)), file)


CHANGES = {
    "duplicate": lambda file: change(file, "path", PATHS[:1] * 12),
    "split": lambda file: change(file, "split", ["val"] * 12),
    "other split": lambda file: change(file, "split", ["train"] * 12),
    "other label": lambda file: change(file, "label", ["cordillera"] * 12),
    "orientation": lambda file: change(file, "orientation", [8] * 12),
    "null": lambda file: change(file, "site", [None] * 12),
    "type": lambda file: change(file, "site", ["a"] * 12),
    "column": lambda file: pq.write_table(pq.read_table(file).drop(["block"]), file),
    "not Parquet": lambda file: file.write_text("path,site\n"),
    "damaged": lambda file: file.write_bytes(b"PAR1" + bytes(300) + file.read_bytes()[304:]),
}


@pytest.mark.parametrize("fault", CHANGES)
def test_a_file_that_is_not_an_index_is_refused(table, tmp_path, fault):
    file = tmp_path / "tiles.parquet"
    write_index(make_index(table), file)
    CHANGES[fault](file)
    with pytest.raises(ArchiveError) as raised:
        read_index(file)
    assert raised.value.fault.code == "index-mismatch"
    assert raised.value.fault.place == "tiles.parquet"


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_index(tmp_path / "tiles.parquet")


def test_an_index_of_other_tiles_is_a_mismatch(table):
    index = make_index(table)
    assert check_index(index, PATHS) == []
    assert len(check_index(index, PATHS[1:])) == 1
    assert len(check_index(index, [*PATHS[1:], "train/glaciar/999.png"])) == 2
