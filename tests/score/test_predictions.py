"""Predictions are read as common software writes them; errors name the file and the tile."""

from __future__ import annotations

import decimal
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import mask_png, noise_scene, png
from PIL import Image

from rock_glacier.faults import InputError
from rock_glacier.score.predictions import Predictions, read_masks, read_scores

PATHS = ["test/cordillera/0.png", "test/glaciar/003.png", "test/glaciar/12.png"]
MASKS = np.zeros((3, 128, 128), np.uint8)
MASKS[1, 10:50, 30:90] = 1
MASKS[2, 100:, :7] = 1


def write_masks(folder, pngs):
    for path, content in zip(PATHS, pngs, strict=True):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def palette_png(indices, colours):
    """Encode class indices with a palette, a list of RGB numbers."""
    image = Image.fromarray(indices).convert("P")
    image.putpalette(colours)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def error_of(function, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    return str(caught.value)


def test_scores_are_read_from_csv_and_parquet(tmp_path):
    frame = pd.DataFrame({"epoch": 3, "score": [1, 0.25], "path": ["a.png", "b.png"]})
    frame.to_csv(tmp_path / "a.csv", index=False, encoding="utf-8-sig")
    frame.astype({"score": "float32"}).to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        predictions = read_scores(tmp_path / name)
        assert list(predictions.paths) == ["a.png", "b.png"]
        assert predictions.values.tolist() == [1.0, 0.25]


def test_scores_are_read_as_other_software_writes_them(tmp_path):
    """With blanks, decimals instead of floats, and the rounding errors of a softmax."""
    (tmp_path / "a.csv").write_text("path , score\na.png , 1.0000001\nb.png, -1e-7\n")
    scores = pa.array([decimal.Decimal("1.0000001"), decimal.Decimal("-1e-7")])
    table = pa.table({" path": ["a.png", "b.png"], "score": scores})
    pq.write_table(table, tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        predictions = read_scores(tmp_path / name)
        assert list(predictions.paths) == ["a.png", "b.png"]
        assert predictions.values.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_the_encoding_of_powershell_is_named(tmp_path, encoding):
    file = tmp_path / "scores.csv"
    mark = "" if encoding == "utf-16" else "\ufeff"
    file.write_text(f"{mark}path,score\na.png,1\n", encoding=encoding)
    message = error_of(read_scores, file)
    assert message.startswith(f"{file}: ")
    assert "UTF-16" in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("path,score\na.png,1\nb.png,1.7\n", "row 2 (b.png)"),
        ("path,score\na.png,1.00001\n", "row 1 (a.png)"),
        ("path,score\na.png,nan\n", "row 1 (a.png)"),
        ("path,score\na.png,\n", "row 1 (a.png)"),
        ("path,score\na.png,high\n", "high"),
        ("path,score\na.png,0,9\n", "a.png"),
        ("path;score\na.png;0.9\n", "path"),
        ("path,glaciar\na.png,0.5\n", "score"),
        ("path,score,score\na.png,1,1\n", "score"),
        ("", "scores.csv"),
    ],
)
def test_wrong_scores_are_errors(tmp_path, text, place):
    file = tmp_path / "scores.csv"
    file.write_text(text)
    message = error_of(read_scores, file)
    assert message.startswith(f"{file}: ")
    assert place in message.removeprefix(str(file.parent))


def test_the_message_for_a_wrong_score_says_what_to_do(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("path,score\na.png,-2.5\n")
    assert error_of(read_scores, file) == (
        f"{file}: row 1 (a.png): the score -2.5 is not a probability from 0 to 1. Give the "
        "probability of glaciar, for logits their softmax or sigmoid."
    )


@pytest.mark.parametrize("name", ["missing.csv", "folder.parquet", "damaged.parquet", "a.txt"])
def test_files_that_are_not_tables_are_errors(tmp_path, name):
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "damaged.parquet").write_text("path,score\n")
    (tmp_path / "a.txt").write_text("path,score\n")
    assert error_of(read_scores, tmp_path / name).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize(
    "encode",
    [
        mask_png,
        lambda mask: png(mask),
        lambda mask: png(mask * 255),
        lambda mask: png(mask * 255, "1"),
        lambda mask: png(mask * 255, "RGB"),
        lambda mask: png(mask, "P"),
        lambda mask: palette_png(mask, [0, 0, 0]),
        lambda mask: palette_png(mask, [0, 0, 0, 128, 0, 0]),
    ],
    ids=[
        "dataset's colours",
        "grey 0 and 1",
        "grey 0 and 255",
        "1 bit",
        "RGB",
        "grey palette",
        "palette of one colour",
        "coloured palette",
    ],
)
def test_masks_are_read_from_common_forms(tmp_path, encode):
    write_masks(tmp_path, [encode(mask) for mask in MASKS])
    (tmp_path / PATHS[0]).with_name("._0.png").write_bytes(b"metadata of macOS")
    predictions = read_masks(tmp_path)
    assert list(predictions.paths) == PATHS
    np.testing.assert_array_equal(predictions.values, 255 * MASKS, strict=True)


@pytest.mark.parametrize("largest", [2, 254, 255])
def test_other_values_are_scores_in_all_files(tmp_path, largest):
    scores = MASKS.copy()
    scores[2, 0, 0] = largest
    scores[2, 0, 1] = 7
    write_masks(tmp_path, [png(score) for score in scores])
    np.testing.assert_array_equal(read_masks(tmp_path).values, scores, strict=True)


def test_masks_of_0_and_1_among_masks_of_0_and_255_are_an_error(tmp_path):
    write_masks(tmp_path, [png(MASKS[0]), png(MASKS[1]), png(MASKS[2] * 255)])
    assert error_of(read_masks, tmp_path).startswith(f"{tmp_path}: ")


def test_links_to_folders_are_followed(tmp_path):
    write_masks(tmp_path / "elsewhere", [png(mask) for mask in MASKS])
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "test").symlink_to(tmp_path / "elsewhere" / "test")
    assert list(read_masks(tmp_path / "masks").paths) == PATHS


def test_upper_case_extensions_fit_the_tiles(tmp_path):
    write_masks(tmp_path, [png(mask) for mask in MASKS])
    (tmp_path / PATHS[1]).rename((tmp_path / PATHS[1]).with_suffix(".PNG"))
    values = read_masks(tmp_path).in_order_of(PATHS)
    np.testing.assert_array_equal(values, 255 * MASKS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        mask_png(MASKS[1])[:-20],
        png(MASKS[1, :64]),
        png(MASKS[1].astype(np.uint16), "I;16"),
        png(noise_scene(1)),
        png(np.zeros((128, 128, 4), np.uint8)),
        png(MASKS[1] * 255, "P"),
        palette_png(MASKS[1], [255, 255, 255, 0, 0, 0]),
        palette_png(0 * MASKS[1], [255, 255, 255]),
    ],
    ids=[
        "empty",
        "JPEG",
        "truncated",
        "size",
        "16 bits",
        "colours",
        "transparent",
        "indices above 1",
        "white first",
        "only white",
    ],
)
def test_a_wrong_mask_is_an_error(tmp_path, content):
    write_masks(tmp_path, [mask_png(MASKS[0]), content, mask_png(MASKS[2])])
    assert error_of(read_masks, tmp_path).startswith(f"{tmp_path / PATHS[1]}: ")


def test_a_folder_without_masks_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        assert error_of(read_masks, folder).startswith(f"{folder}: ")


def test_predictions_are_ordered_like_the_tiles():
    predictions = Predictions("a.csv", PATHS[::-1], np.array([0.1, 0.2, 0.3]))
    assert predictions.in_order_of(PATHS).tolist() == [0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("paths", "wrong"),
    [
        (PATHS[1:], PATHS[0]),
        ([*PATHS, PATHS[2]], PATHS[2]),
        ([*PATHS, "train/glaciar/1.png"], "train/glaciar/1.png"),
    ],
    ids=["missing", "repeated", "unknown"],
)
def test_paths_must_be_tiles_of_the_split(paths, wrong):
    predictions = Predictions("a.csv", paths, np.zeros(len(paths)))
    message = error_of(predictions.in_order_of, PATHS)
    assert message.startswith(f"a.csv: 1 path, such as {wrong}, ")
