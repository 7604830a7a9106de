"""The dataset's metadata as Croissant, with the responsible-AI fields that the Hub's own Croissant leaves out.

Formats: https://docs.mlcommons.org/croissant/docs/croissant-spec.html (version 1.0) and
https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html. The files are described as the Hub describes them:
https://huggingface.co/docs/dataset-viewer/croissant. The texts are those of the card's sections.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub import DatasetCard

from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, SPLIT_NAMES, RockGlacierDataset

CROISSANT_NAME = "croissant.json"

SECTIONS = {
    "rai:dataCollection": "Initial Data Collection and Normalization",
    "rai:dataAnnotationProtocol": "Annotation process",
    "rai:annotatorDemographics": "Who are the annotators?",
    "rai:dataUseCases": "Supported Tasks and Leaderboards",
    "rai:dataLimitations": "Other Known Limitations",
    "rai:dataBiases": "Discussion of Biases",
    "rai:dataSocialImpact": "Social Impact of Dataset",
    "rai:personalSensitiveInformation": "Personal and Sensitive Information",
}
"""The responsible-AI fields, and the headings of the card's sections that they hold."""

_TERMS = """citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset
    jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField
    transform"""
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
_COLUMNS = {
    "image": ("sc:ImageObject", "The tile, a PNG file."),
    "labels": ("sc:Integer", "The class: " + ", ".join(f"{label} is {name}" for label, name in enumerate(CLASS_NAMES))),
    "masks": ("sc:ImageObject", "The mask, a PNG file: white is rock glacier, black is background."),
    "path": ("sc:Text", "The tile's path in its archive: <split>/<class>/<id>.png."),
}
_PICTURE_OR_COMMENT = re.compile(r"!\[[^]]*\]\([^)]*\)(?:\n+\*[^*]+\*(?=\n|$))?|<!--.*?-->", re.DOTALL)


def describe(card: str, repo_id: str, features: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe a published dataset.

    Args:
        card: the published card.
        repo_id: the Hub dataset.
        features: for each config its columns.

    Returns:
        a JSON-LD document.

    Raises:
        ValueError: the card lacks a section that a field needs, or the citation.
    """
    data = DatasetCard(card, ignore_metadata_errors=False).data
    url = f"https://huggingface.co/datasets/{repo_id}"
    citation = _find(r"^```bibtex\n(.*?)^```$", card, "citation in BibTeX")
    cited = {
        name: _find(rf'\b{name}="(.+?)"', citation, f"{name} in its citation") for name in ("author", "url", "year")
    }
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": data["pretty_name"],
        "description": _section(card, _find(r"^# ([^\n]+)", card, "title")),
        "url": url,
        "sameAs": cited["url"],
        "creator": {"@type": "sc:Organization", "name": cited["author"], "url": cited["url"]},
        "datePublished": cited["year"],
        "version": str(RockGlacierDataset.VERSION),
        "license": "https://spdx.org/licenses/MIT.html",
        "keywords": data["tags"],
        "citeAs": citation,
        **{field: _section(card, heading) for field, heading in SECTIONS.items()},
        "rai:dataCollectionType": ["Direct measurement", "Manual Human Curator"],
        "rai:dataAnnotationPlatform": "Label Studio, for bounding boxes",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "repo",
                "name": "repo",
                "description": "The Hub repository.",
                "contentUrl": url,
                "encodingFormat": "git+https",
                "sha256": "https://github.com/mlcommons/croissant/issues/80",  # as the Hub has it: a branch moves
            },
            *(
                {
                    "@type": "cr:FileSet",
                    "@id": f"files-{config}",
                    "name": f"files-{config}",
                    "description": f"The Parquet files of the config {config}.",
                    "containedIn": {"@id": "repo"},
                    "encodingFormat": "application/x-parquet",
                    "includes": f"{config}/*.parquet",
                }
                for config in CONFIG_NAMES
            ),
        ],
        "recordSet": [_splits(), *(_record_set(config, [*features[config]]) for config in CONFIG_NAMES)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _section(card: str, heading: str) -> str:
    """Return the text of a section, a paragraph or point a line, without its subsections, pictures and links."""
    text = _find(rf"^#+ {re.escape(heading)}\n(.*?\S.*?)(?=^#|\Z)", card, f"text below the heading {heading}")
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", _PICTURE_OR_COMMENT.sub("", text))
    return "\n".join(" ".join(part.split()) for part in re.split(r"\n\n|\n(?=- )", text) if part.strip())


def _find(pattern: str, text: str, what: str) -> str:
    found = re.search(pattern, text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"README.md: has no {what}, which {CROISSANT_NAME} needs")
    return found[1].strip()


def _splits() -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [{"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}],
        "data": [{"splits/name": split} for split in SPLIT_NAMES],
    }


def _record_set(config: str, columns: list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "description": f"A record for each tile of the config {config}.",
        "field": [*_fields(config, columns)],
    }


def _fields(config: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    files = {"fileSet": {"@id": f"files-{config}"}}
    yield {
        "@type": "cr:Field",
        "@id": f"{config}/split",
        "name": "split",
        "description": "The split.",
        "dataType": "sc:Text",
        "source": files
        | {
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": rf"{config}/({'|'.join(SPLIT_NAMES)})-.+parquet$"},
        },
        "references": {"field": {"@id": "splits/name"}},
    }
    for column in columns:
        kind, description = _COLUMNS[column]
        source: dict[str, Any] = files | {"extract": {"column": column}}
        if kind == "sc:ImageObject":
            source["transform"] = {"jsonPath": "bytes"}
        yield {
            "@type": "cr:Field",
            "@id": f"{config}/{column}",
            "name": column,
            "description": description,
            "dataType": kind,
            "source": source,
        }
