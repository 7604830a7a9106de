"""The dataset's metadata as Croissant, with the responsible-AI fields that the Hub's own Croissant leaves out.

Formats: https://docs.mlcommons.org/croissant/docs/croissant-spec.html (version 1.0) and
https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html. `croissant.json` beside this module holds what is the
same for whatever is staged. It describes the files as the Hub does, which has an address in place of the checksum of
the repository: https://huggingface.co/docs/dataset-viewer/croissant. The texts are those of the card's sections.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from huggingface_hub import DatasetCard

from rock_glacier.console import REPO_ID
from rock_glacier_dataset import RockGlacierDataset

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
"""The fields that hold sections of the card, and the headings of these."""


def describe(card: str, repo_id: str) -> str:
    """Describe a published dataset.

    Args:
        card: the published card.
        repo_id: the Hub dataset.

    Returns:
        a JSON-LD document.

    Raises:
        ValueError: the card lacks a section that a field needs.
    """
    template = Path(__file__).with_name(CROISSANT_NAME).read_text(encoding="utf-8")
    document = json.loads(template.replace(REPO_ID, repo_id))
    metadata = DatasetCard(card, ignore_metadata_errors=False).data
    document |= {"name": metadata["pretty_name"], "version": str(RockGlacierDataset.VERSION)}
    document |= {"keywords": metadata["tags"], **{field: _section(card, name) for field, name in SECTIONS.items()}}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _section(card: str, heading: str) -> str:
    """Return the paragraphs of a section, without its subsections, pictures and captions."""
    _, found, text = card.partition(f"# {heading}\n")
    paragraphs = re.split("^#", text, maxsplit=1, flags=re.MULTILINE)[0].strip().split("\n\n")
    if not found or not paragraphs[0]:
        raise ValueError(f"README.md: has no text below the heading {heading}, which {CROISSANT_NAME} needs")
    return "\n\n".join(paragraph for paragraph in paragraphs if not paragraph.startswith(("![", "*")))
