"""The dataset's metadata as Croissant 1.1, with responsible-AI fields.

Formats: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and
https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html. Texts are sections of the card.
Numbers are measured on the staged files. mlcroissant is imported in functions, because this takes
half a second.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCard

from rock_glacier.archives import sha256_of_file
from rock_glacier.faults import InputError
from rock_glacier.hub.geocroissant import describe_bands, describe_ground
from rock_glacier.index import INDEX_NAME, read_index
from rock_glacier_dataset import (
    CONFIG_NAMES,
    HOMEPAGE,
    SPLIT_NAMES,
    RockGlacierDataset,
    features_of,
)

if TYPE_CHECKING:
    import mlcroissant as mlc

CROISSANT_NAME = "croissant.json"

SECTIONS = {
    "description": "Rock Glacier Dataset",
    "data_collection": "Initial Data Collection and Normalization",
    "data_annotation_protocol": "Annotation process",
    "annotator_demographics": "Who are the annotators?",
    "data_use_cases": "Supported Tasks and Leaderboards",
    "data_limitations": "Other Known Limitations",
    "data_biases": "Discussion of Biases",
    "data_social_impact": "Social Impact of Dataset",
    "personal_sensitive_information": "Personal and Sensitive Information",
    "cite_as": "Citation Information",
}
"""For each field of mlcroissant's `Metadata`, the heading of the card's section that it holds."""

_VERSIONS = ("1.1", "RAI/1.0", "geo/1.0")
_NAMESPACE = "http://mlcommons.org/croissant/"
# Terms that mlcroissant's own context lacks, and the prefix of GeoCroissant.
_TERMS = {
    "arrayShape": "cr:arrayShape",
    "containedIn": "cr:containedIn",
    "description": {"@container": "@language"},
    "geocr": f"{_NAMESPACE}geo/",
    "isArray": "cr:isArray",
    "name": {"@container": "@language"},
}
_PARQUET = "application/x-parquet"
_DATE = "2022-10"  # of the citation
_SPLITS = {"train": "TrainingSplit", "validation": "ValidationSplit", "test": "TestSplit"}

# Columns of both configs and of the tile index.
_COLUMNS = {
    "split": "The split.",
    "image": "The tile, a PNG file: red, green, blue and alpha, 8 bits per channel.",
    "labels": "The class: 0 is cordillera, 1 is glaciar.",
    "masks": "The mask, a PNG file of opaque pixels: white is rock glacier, black is background.",
    "path": "The tile's path in its archive: <split>/<class>/<id>.png.",
    "label": "The class: cordillera or glaciar.",
    "source": "The file that the tile was made from, or null.",
    "site": "Number of the site. Tiles of one site share ground, directly or through other tiles.",
    "block": "Number of the block within the site. Blocks share no ground.",
    "x": "Column of the tile's upper left pixel in the grid of its site, after the orientation.",
    "y": "Row of the tile's upper left pixel in the grid of its site, downwards.",
    "orientation": "The orientation to apply to the tile, 0 to 7: numpy.rot90 by orientation % 4, "
    "then transposed if it is 4 or more. North is up in located sites.",
    "longitude": "Longitude of the tile's centre in WGS 84, or null.",
    "latitude": "Latitude of the tile's centre in WGS 84, or null.",
    "epsg": "EPSG code of the UTM zone of easting and northing, or null.",
    "easting": "Easting of the tile's upper left corner in metres, or null.",
    "northing": "Northing of the tile's upper left corner in metres, or null.",
    "located_by": "outlines (located by its own mask), site (through other tiles), or null.",
    "outlines": "Names of the rock glacier outlines that the tile intersects.",
    "mask_share": "Share of the tile that its mask covers, 0 to 1.",
    "geometry": "Footprint of the tile as a WKB polygon in WGS 84, or null.",
}


def describe(card: DatasetCard, folder: Path, *, repo_id: str, is_sample: bool = False) -> str:
    """Describe a staged dataset.

    Args:
        card: The card.
        folder: The staged branch `main` with its Parquet files.
        repo_id: The repository on the Hub.
        is_sample: Whether the tiles are synthetic.

    Returns:
        A JSON-LD document. The same files give the same document.

    Raises:
        InputError: If the card lacks a section that a field needs.
    """
    import mlcroissant as mlc

    rdf = mlc.Rdf()
    rdf.context.update(_TERMS)
    context = mlc.Context(conforms_to=f"{_NAMESPACE}{_VERSIONS[0]}", rdf=rdf)
    url = f"https://huggingface.co/datasets/{repo_id}"
    index = read_index(folder / INDEX_NAME)
    tables = {
        config: pa.schema([pa.field("split", pa.string()), *features_of(config).arrow_schema])
        for config in CONFIG_NAMES
    }
    tables["tiles"] = pq.read_schema(folder / INDEX_NAME)
    metadata = mlc.Metadata(
        ctx=context,
        conforms_to=[_NAMESPACE + version for version in _VERSIONS],
        name=card.data["pretty_name"],
        version=str(RockGlacierDataset.VERSION),
        keywords=card.data["tags"],
        url=url,
        same_as=[HOMEPAGE],
        creators=[mlc.Organization(ctx=context, name="CMM - Glaciares (UChile)", url=HOMEPAGE)],
        date_published=_DATE,
        license=["https://spdx.org/licenses/MIT.html"],
        data_collection_type=["Direct measurement", "Manual Human Curator"],
        data_annotation_platform=["Label Studio, for bounding boxes"],
        distribution=_list_files(context, folder, url),
        record_sets=[
            _describe_splits(context, index["split"]),
            *(_describe_table(context, name, schema) for name, schema in tables.items()),
        ],
        # mlcroissant would add a day to the date.
        extra_properties={"datePublished": _DATE, **describe_ground(index, is_sample)},
        **{field: _read_section(card.text, heading) for field, heading in SECTIONS.items()},
    )
    return json.dumps(metadata.to_json(), indent=2, ensure_ascii=False) + "\n"


def _read_section(text: str, heading: str) -> str:
    """Return the paragraphs of a section, without subsections, pictures, captions and links."""
    section = text.partition(f"# {heading}\n")[2]
    section = re.split("^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    section = re.sub("^```.*\n", "", section, flags=re.MULTILINE)
    section = re.sub(r"(?<!!)\[([^\]]+)\]\([^)]*\)", r"\1", section)
    paragraphs = [
        paragraph
        for paragraph in section.strip().split("\n\n")
        if paragraph and not paragraph.startswith(("![", "*"))
    ]
    if not paragraphs:
        raise InputError(f"README.md: there is no text below the heading {heading!r}. Add it.")
    return "\n\n".join(paragraphs)


def _list_files(context: mlc.Context, folder: Path, url: str) -> list[Any]:
    """Describe the repository, the set of files of each config, and every Parquet file."""
    import mlcroissant as mlc

    repository = mlc.FileObject(
        ctx=context,
        id="repo",
        name="repo",
        content_url=url,
        encoding_formats=["git+https"],
        # mlcroissant needs a checksum, and a repository has none. The Hub writes this.
        sha256="https://github.com/mlcommons/croissant/issues/80",
    )
    contained = {"ctx": context, "contained_in": ["repo"], "encoding_formats": [_PARQUET]}
    sets = [
        mlc.FileSet(id=f"files-{name}", name=name, includes=[f"{name}/*.parquet"], **contained)
        for name in CONFIG_NAMES
    ]
    files = []
    for file in sorted(folder.rglob("*.parquet")):
        name = file.relative_to(folder).as_posix()
        size = f"{file.stat().st_size} B"
        sha256 = sha256_of_file(file)
        properties = {"content_url": name, "content_size": size, "sha256": sha256}
        files.append(mlc.FileObject(id=name, name=name, **properties, **contained))
    return [repository, *sets, *files]


def _describe_splits(context: mlc.Context, splits: pd.Series) -> mlc.RecordSet:
    """Describe the splits: names, meanings and numbers of tiles."""
    import mlcroissant as mlc

    data_types = {
        "name": [mlc.DataType.TEXT],
        "url": [mlc.DataType.URL, mlc.DataType.SPLIT],
        "tiles": [mlc.DataType.INTEGER],
    }
    fields = [
        mlc.Field(ctx=context, id=f"splits/{name}", name=name, data_types=types)
        for name, types in data_types.items()
    ]
    data = []
    for split, meaning in _SPLITS.items():
        tiles = int((splits == split).sum())
        values = {"name": split, "url": f"cr:{meaning}", "tiles": tiles}
        data.append({f"splits/{name}": value for name, value in values.items()})
    return mlc.RecordSet(
        ctx=context,
        id="splits",
        name="splits",
        description="The splits and their numbers of tiles.",
        data_types=[mlc.DataType.SPLIT],
        key=["splits/name"],
        fields=fields,
        data=data,
    )


def _describe_table(context: mlc.Context, table: str, schema: pa.Schema) -> mlc.RecordSet:
    """Describe the records of a config or of the tile index."""
    import mlcroissant as mlc

    fields = []
    for column, column_type in zip(schema.names, schema.types, strict=True):
        field = mlc.Field(
            ctx=context,
            id=f"{table}/{column}",
            name=column,
            description=_COLUMNS[column],
            data_types=[_find_data_type(column_type)],
            is_array=pa.types.is_list(column_type) or None,
            source=_find_source(context, table, column),
        )
        if column == "split":
            field.references = mlc.Source(ctx=context, field="splits/name")
        elif column == "image":
            field.extra_properties = describe_bands()
        elif column in ("labels", "masks"):
            field.data_types.append(f"{_NAMESPACE}Label")
        fields.append(field)
    return mlc.RecordSet(
        ctx=context,
        id=table,
        name=table,
        description="A record for each tile.",
        key=[f"{table}/path"],
        fields=fields,
    )


def _find_data_type(column_type: pa.DataType) -> str:
    import mlcroissant as mlc

    if pa.types.is_struct(column_type):
        return mlc.DataType.IMAGE_OBJECT
    if pa.types.is_integer(column_type):
        return mlc.DataType.INTEGER
    if pa.types.is_floating(column_type):
        return mlc.DataType.FLOAT
    return mlc.DataType.TEXT


def _find_source(context: mlc.Context, table: str, column: str) -> mlc.Source:
    """Return the source of a column's values: files, and how to extract the values from them."""
    import mlcroissant as mlc

    extract = mlc.Extract(ctx=context, column=column)
    if table not in CONFIG_NAMES:
        return mlc.Source(ctx=context, file_object=INDEX_NAME, extract=extract)
    transforms = []
    if column == "split":
        extract = mlc.Extract(ctx=context, file_property="fullpath")
        # mlcroissant applies the expression again to its result, so it must match that too.
        regex = f"(?:{table}/)?({'|'.join(SPLIT_NAMES)})(?:-.+parquet)?$"
        transforms = [mlc.Transform(ctx=context, regex=regex)]
    elif column in ("image", "masks"):
        transforms = [mlc.Transform(ctx=context, json_path="bytes")]
    return mlc.Source(
        ctx=context, file_set=f"files-{table}", extract=extract, transforms=transforms
    )
