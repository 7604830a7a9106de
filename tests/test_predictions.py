"""Predictions as files: what is written is read back, from whatever tool, and what is wrong is told in one message."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from predictions import MaskPredictions, PredictionError, read_scores, rows_of_tiles, write_masks, write_scores

from rock_glacier_dataset import class_indices_to_mask, mask_to_class_indices

PATHS = ["test/cordillera/0.png", "test/glaciar/3.png", "test/glaciar/12.png"]
MASKS = np.zeros((3, 128, 128), np.uint8)
MASKS[1, 10:50, 30:90] = MASKS[2, 100:, :7] = 1


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def palette(mask):
    image = Image.fromarray(mask * 3).convert("P")
    image.putpalette([0, 0, 0] * 3 + [255, 255, 255])
    return image


PNGS = {
    "the dataset's colours": lambda mask: png(class_indices_to_mask(mask)),
    "colours without alpha": lambda mask: png(class_indices_to_mask(mask).convert("RGB")),
    "grey of 0 and 1": lambda mask: png(Image.fromarray(mask)),
    "grey of 0 and 255": lambda mask: png(Image.fromarray(mask * 255)),
    "16-bit grey of 0 and 1": lambda mask: png(Image.fromarray(mask.astype(np.uint16))),
    "1-bit": lambda mask: png(Image.fromarray(mask * 255).convert("1")),
    "palette": lambda mask: png(palette(mask)),
}


def nested(kind: pa.DataType):
    rows = MASKS.astype(bool) if pa.types.is_boolean(kind) else MASKS
    return pa.array(rows.tolist(), pa.list_(pa.list_(kind)))


COLUMNS = {
    "bytes": lambda: pa.array(map(PNGS["grey of 0 and 1"], MASKS)),
    "large bytes": lambda: pa.array(map(PNGS["1-bit"], MASKS), pa.large_binary()),
    "images": lambda: pa.array([{"bytes": png, "path": None} for png in map(PNGS["grey of 0 and 255"], MASKS)]),
    "booleans": lambda: nested(pa.bool_()),
    "bytes as numbers": lambda: nested(pa.uint8()),
    "long numbers": lambda: nested(pa.int64()),
    "floats": lambda: nested(pa.float32()),
    "0 and 255": lambda: pa.array((MASKS * 255).tolist()),
    "large lists": lambda: nested(pa.int8()).cast(pa.large_list(pa.large_list(pa.int8()))),
    "lists of fixed size": lambda: nested(pa.uint8()).cast(pa.list_(pa.list_(pa.uint8(), 128), 128)),
}


def write_table(file, column, name="mask", paths=PATHS):
    pq.write_table(pa.table({"path": paths, name: column}), file)


def assert_holds(place, threshold=0.5):
    found = MaskPredictions(place, threshold)
    read = dict(found)
    assert sorted(found.paths) == sorted(read) == sorted(PATHS)
    for path, mask in zip(PATHS, MASKS, strict=True):
        np.testing.assert_array_equal(read[path], mask, strict=True)


def message(call, *arguments) -> str:
    with pytest.raises(PredictionError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_scores_come_back_as_they_were_written(tmp_path, name):
    scores = [0.0, 1 / 3, 1.0]
    write_scores(tmp_path / name, PATHS, np.array(scores))
    assert read_scores(tmp_path / name).paths == PATHS
    assert read_scores(tmp_path / name).scores.tolist() == scores
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_scores_of_other_tools_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffepoch,score,path\n3,1,a.png\n3,.25,b.png\n", encoding="utf-8")
    table = pa.table(
        {"score": pa.array([1, 0.25], pa.float32()), "path": pa.array(["a.png", "b.png"]).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        assert read_scores(tmp_path / name).paths == ["a.png", "b.png"]
        assert read_scores(tmp_path / name).scores.tolist() == [1.0, 0.25]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "path,score\na.png,1.7\nb.png,0.5\nc.png,-3\n",
            "a.png: the score 1.7 is no probability (1 more are none eith",
        ),
        ("path,score\na.png,nan\n", "a.png: the score nan is no probability"),
        ("path,score\na.png,\n", "a.png: the score nan is no probability"),
        ("path,score\na.png,high\n", "a.png: the score high is no probability"),
        ("path,score\na.png\n", "a.png: the score nan is no probability"),
        ("path,score\na.png,0.5\n,0.5\n", "line 3 has no path"),
        ("path,glaciar\na.png,0.5\n", "has no column score; its columns are path, glaciar"),
        ("", "has no column path; its columns are none"),
        (b"path,score\n\xff\xfe,0.5\n", "is no CSV"),
    ],
)
def test_scores_that_cannot_be_used_are_named(tmp_path, text, said):
    file = tmp_path / "scores.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message(read_scores, file).startswith(f"{file}: {said}") or said == "is no CSV"
    assert said in message(read_scores, file)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"path": ["a.png"], "score": [float("inf")]}, "a.png: the score inf is no probability"),
        ({"path": ["a.png"], "score": pa.array([None], pa.float64())}, "a.png: the score nan is no probability"),
        ({"path": ["a.png"], "score": ["0.5"]}, "the column score holds string"),
        ({"path": ["a.png", None], "score": [0.5, 0.5]}, "row 2 has no path"),
        ({"path": [[1]], "score": [0.5]}, "the column path holds no text"),
        ({"name": ["a.png"], "score": [0.5]}, "has no column path; its columns are name, score"),
    ],
)
def test_a_table_of_scores_that_cannot_be_used_is_told(tmp_path, columns, said):
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    assert said in message(read_scores, tmp_path / "scores.parquet")


def test_what_is_no_file_of_predictions_is_told(tmp_path):
    (tmp_path / "a.parquet").write_text("path,score\n")
    (tmp_path / "a.txt").write_text("path,score\n")
    (tmp_path / "empty").mkdir()
    for call in (read_scores, MaskPredictions):
        assert "a.parquet: is no Parquet file" in message(call, tmp_path / "a.parquet")
        assert "a.txt: is no " in message(call, tmp_path / "a.txt")
        with pytest.raises(FileNotFoundError):
            call(tmp_path / "away.parquet")
    assert "holds no PNG files" in message(MaskPredictions, tmp_path / "empty")


def test_scores_that_cannot_be_written_leave_what_was_there(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("before")
    assert "3 paths and scores of shape (2,)" in message(write_scores, file, PATHS, [0.5, 0.5])
    assert "test/glaciar/3.png: the score 2.0 is no prob" in message(write_scores, file, PATHS, [0.5, 2, 0.5])
    assert "is no .parquet or .csv file" in message(write_scores, tmp_path / "scores.txt", PATHS, [0.5, 1, 0.5])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"scores.csv": "before"}


def test_masks_that_were_written_are_images_to_datasets(tmp_path):
    file = tmp_path / "masks.parquet"
    assert write_masks(file, zip(PATHS, MASKS, strict=True)) == 3
    assert_holds(file)
    loaded = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features == datasets.Features({"path": datasets.Value("string"), "mask": datasets.Image()})
    assert (mask_to_class_indices(loaded[1]["mask"]) == MASKS[1]).all()


def test_masks_are_written_as_they_come_in_small_row_groups(tmp_path):
    written = write_masks(tmp_path / "a.parquet", ((f"test/glaciar/{number}.png", MASKS[1]) for number in range(250)))
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert written == 250
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [100, 100, 50]
    write_masks(tmp_path / "b.parquet", ((f"test/glaciar/{number}.png", MASKS[1]) for number in range(250)))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("mask", [MASKS[1] * 2, MASKS[1, :64], MASKS[1] * 0.5])
def test_a_mask_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, mask):
    masks = [(PATHS[0], MASKS[0]), (PATHS[1], mask)]
    assert f"masks.parquet: {PATHS[1]}: class indices are" in message(write_masks, tmp_path / "masks.parquet", masks)
    assert "is no .parquet file" in message(write_masks, tmp_path / "masks.csv", masks[:1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("name", ["mask", "masks"])
def test_masks_are_read_from_every_kind_of_column(tmp_path, column, name):
    write_table(tmp_path / "masks.parquet", COLUMNS[column](), name)
    assert MaskPredictions(tmp_path / "masks.parquet").are_probabilities == (column == "floats")
    assert_holds(tmp_path / "masks.parquet")


def test_masks_are_read_from_an_array_feature_of_datasets(tmp_path):
    features = datasets.Features({"path": datasets.Value("string"), "mask": datasets.Array2D((128, 128), "uint8")})
    file = tmp_path / "masks.parquet"
    datasets.Dataset.from_dict({"path": PATHS, "mask": list(MASKS)}, features).to_parquet(file)
    assert_holds(file)


@pytest.mark.parametrize("form", PNGS)
def test_masks_are_read_from_a_folder_of_png_files(tmp_path, form):
    for path, mask in zip(PATHS, MASKS, strict=True):
        file = tmp_path / "masks" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(PNGS[form](mask))
        file.with_name(f"._{file.name}").write_bytes(b"what macOS lays beside")
    (tmp_path / "masks" / "notes.txt").write_text("")
    assert_holds(tmp_path / "masks")


def test_a_probability_is_rock_glacier_from_the_threshold_up(tmp_path):
    soft = np.where(MASKS == 1, 0.75, 0.5)
    write_table(tmp_path / "masks.parquet", pa.array(soft.tolist()))
    assert_holds(tmp_path / "masks.parquet", threshold=0.75)
    assert all(mask.all() for _, mask in MaskPredictions(tmp_path / "masks.parquet"))
    assert not any(mask.any() for _, mask in MaskPredictions(tmp_path / "masks.parquet", threshold=0.76))


def coloured(mask):
    image = class_indices_to_mask(mask)
    image.putpixel((5, 7), (255, 0, 0, 255))
    return png(image)


GOOD = PNGS["1-bit"](MASKS[0])
BAD_COLUMNS = {
    "size": ([GOOD, png(Image.new("L", (64, 128)))], "is 128 x 64 pixels; a mask has 128 x 128"),
    "values": (
        [GOOD, PNGS["grey of 0 and 1"](MASKS[1] * 3)],
        "has the values 0, 3; a mask's are 0 and 1, or 0 and 255",
    ),
    "grey": ([GOOD, PNGS["grey of 0 and 1"](MASKS[1] * 128)], "has the values 0, 128; a mask's are"),
    "colours": ([GOOD, coloured(MASKS[1])], "got (255, 0, 0, 255) at y=7, x=5"),
    "no PNG": ([GOOD, b"\xff\xd8\xff"], "is no PNG file"),
    "cut": ([GOOD, PNGS["the dataset's colours"](MASKS[1])[:90]], "is a damaged PNG file"),
    "none": ([GOOD, None], "has no mask; predict one"),
    "no image": ([{"bytes": GOOD, "path": None}, None], "has no mask; predict one"),
    "a name": ([{"bytes": GOOD, "path": None}, {"bytes": None, "path": "a.png"}], "is but the name of a file, a.png"),
    "no array": ([MASKS[0].tolist(), None], "has no mask; predict one"),
    "ragged": ([MASKS[0].tolist(), [[0] * 128, [0] * 127]], "is rows of 127, 128 numbers"),
    "short": ([MASKS[0].tolist(), MASKS[0, :64].tolist()], "is 64 x 128 pixels; a mask has 128 x 128"),
    "narrow": ([MASKS[0].tolist(), MASKS[0, :, :64].tolist()], "is rows of 64 numbers; a mask has 128 rows of 128"),
    "without rows": ([MASKS[0].tolist(), []], "is rows of none numbers"),
    "holes": ([MASKS[0].tolist(), [[None] * 128] * 128], "has pixels without a value"),
    "numbers": ([MASKS[0].tolist(), (MASKS[1] * 2).tolist()], "has the values 0, 2"),
    "logits": (
        [np.zeros((128, 128)).tolist(), np.full((128, 128), -1.5).tolist()],
        "has values that are no probabilities",
    ),
    "nan": (
        [np.zeros((128, 128)).tolist(), np.full((128, 128), np.nan).tolist()],
        "has values that are no probabilities",
    ),
    "words": ([[["0"] * 128] * 128] * 2, "has values of the kind object"),
}


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_a_mask_that_cannot_be_used_is_named(tmp_path, case):
    values, said = BAD_COLUMNS[case]
    write_table(tmp_path / "masks.parquet", pa.array(values), paths=PATHS[:2])
    told = message(lambda: list(MaskPredictions(tmp_path / "masks.parquet")))
    place = f"{tmp_path / 'masks.parquet'}: {PATHS[0 if case == 'words' else 1]}: "
    assert told.startswith(place)
    assert said in told


def test_a_damaged_file_of_a_folder_is_named(tmp_path):
    (tmp_path / "test" / "glaciar").mkdir(parents=True)
    (tmp_path / "test" / "glaciar" / "3.png").write_bytes(b"")
    told = message(lambda: list(MaskPredictions(tmp_path)))
    assert told == f"{tmp_path}: test/glaciar/3.png: is no PNG file; write the mask as one"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"path": PATHS, "mask": ["0 0 1"] * 3}, "the column mask holds string; masks are PNG files"),
        ({"path": PATHS, "mask": [[0, 1]] * 3}, "the column mask holds list"),
        ({"path": PATHS, "score": [0.5] * 3}, "has no column mask; its columns are path, score"),
        ({"mask": [GOOD] * 3}, "has no column path; its columns are mask"),
    ],
)
def test_a_table_without_masks_is_told(tmp_path, columns, said):
    pq.write_table(pa.table(columns), tmp_path / "masks.parquet")
    assert said in message(MaskPredictions, tmp_path / "masks.parquet")


def test_predictions_are_matched_to_tiles_by_path_in_any_order(tmp_path):
    assert rows_of_tiles(tmp_path, PATHS[::-1], PATHS, "test").tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        (PATHS[1:], "1 path (test/cordillera/0.png) is not predicted; predict every tile of the split test"),
        ([], "3 paths (test/cordillera/0.png, test/glaciar/3.png, test/glaciar/12.png) are not predicted"),
        (PATHS + PATHS[:1], "1 path (test/cordillera/0.png) is predicted more than once"),
        (
            [*PATHS, "a", "b", "c", "d"],
            "4 paths (a, b, c, ...) are of no tile of the split test, whose paths are such as",
        ),
    ],
)
def test_paths_that_are_missing_double_or_unknown_are_told(tmp_path, predicted, said):
    assert said in message(rows_of_tiles, tmp_path / "a.csv", predicted, PATHS, "test")
