"""The dataset's metadata as Croissant, with responsible-AI fields that the Hub's own file lacks.

Formats: https://docs.mlcommons.org/croissant/docs/croissant-spec.html (version 1.0) and
https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html. The file `croissant.json` in this
folder holds the constant part. It describes the files as the Hub does: the repository has an
address instead of a checksum (https://huggingface.co/docs/dataset-viewer/croissant). The texts are
sections of the card.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from huggingface_hub import DatasetCard

from rock_glacier.faults import InputError
from rock_glacier_dataset import REPO_ID, RockGlacierDataset

CROISSANT_NAME = "croissant.json"

SECTIONS = {
    "description": "Rock Glacier Dataset",
    "rai:dataCollection": "Initial Data Collection and Normalization",
    "rai:dataAnnotationProtocol": "Annotation process",
    "rai:annotatorDemographics": "Who are the annotators?",
    "rai:dataUseCases": "Supported Tasks and Leaderboards",
    "rai:dataLimitations": "Other Known Limitations",
    "rai:dataBiases": "Discussion of Biases",
    "rai:dataSocialImpact": "Social Impact of Dataset",
    "rai:personalSensitiveInformation": "Personal and Sensitive Information",
}
"""For each field, the heading of the card's section that it holds."""


def describe(card: DatasetCard, repo_id: str) -> str:
    """Describe a published dataset.

    Args:
        card: The published card.
        repo_id: The repository on the Hub.

    Returns:
        A JSON-LD document.

    Raises:
        InputError: If the card lacks a section that a field needs.
    """
    template = Path(__file__).with_name(CROISSANT_NAME).read_text(encoding="utf-8")
    document = json.loads(template.replace(REPO_ID, repo_id))
    document["name"] = card.data["pretty_name"]
    document["version"] = str(RockGlacierDataset.VERSION)
    document["keywords"] = card.data["tags"]
    for field, heading in SECTIONS.items():
        document[field] = _read_section(card.text, heading)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _read_section(text: str, heading: str) -> str:
    """Return the paragraphs of a section, without subsections, pictures and captions."""
    section = text.partition(f"# {heading}\n")[2]
    section = re.split("^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    paragraphs = [
        paragraph
        for paragraph in section.strip().split("\n\n")
        if paragraph and not paragraph.startswith(("![", "*"))
    ]
    if not paragraphs:
        raise InputError(f"README.md: there is no text below the heading {heading!r}. Add it.")
    return "\n\n".join(paragraphs)
