"""Predictions as files: what is written is read back, from whatever tool, and each fault is named in one message."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rock_glacier.masks import class_indices_to_mask, mask_to_class_indices
from rock_glacier.scoring.predictions import MaskPredictions, PredictionError, read_scores, write_masks, write_scores

PATHS = ["test/cordillera/0.png", "test/glaciar/003.png", "test/glaciar/12.png"]
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
    "long numbers": lambda: nested(pa.int64()),
    "floats": lambda: nested(pa.float32()),
    "0 and 255": lambda: pa.array((MASKS * 255).tolist()),
    "large lists": lambda: nested(pa.int8()).cast(pa.large_list(pa.large_list(pa.int8()))),
    "lists of fixed size": lambda: nested(pa.uint8()).cast(pa.list_(pa.list_(pa.uint8(), 128), 128)),
}


def write_table(file, column, name="mask", paths=PATHS):
    pq.write_table(pa.table({"path": paths, name: column}), file)
    return file


def assert_holds_the_masks(place, threshold=0.5):
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


def read_masks(place):
    return list(MaskPredictions(place))


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_scores_come_back_as_they_were_written(tmp_path, name):
    scores = [0.0, 1 / 3, 1.0]
    write_scores(tmp_path / name, PATHS, np.array(scores))
    paths, found = read_scores(tmp_path / name)
    assert (paths, found.tolist()) == (PATHS, scores)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_scores_of_other_tools_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffepoch,score,path\n3,1,a.png\n3,.25,b.png\n", encoding="utf-8")
    scores, paths = pa.array([1, 0.25], pa.float32()), pa.array(["a.png", "b.png"]).dictionary_encode()
    pq.write_table(pa.table({"score": scores, "path": paths}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        paths, scores = read_scores(tmp_path / name)
        assert (paths, scores.tolist()) == (["a.png", "b.png"], [1.0, 0.25])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,score\na.png,1.7\nb.png,1\nc.png,-3\n", "a.png: the score 1.7 is not a probability (nor are 1 more)"),
        ("path,score\na.png,nan\n", "a.png: the score nan is not a probability"),
        ("path,score\na.png,\n", "a.png: the score nan is not a probability"),
        ("path,score\na.png,high\n", "Row #2: CSV conversion error to double: invalid value 'high'"),
        ("path,score\na.png,0.5\nb.png\n", "Row #3: Expected 2 columns, got 1: b.png"),
        ("path,score\na.png,0.5\n,0.5\n", "row 2 has no path"),
        ("path,glaciar\na.png,0.5\n", "has no column score; its columns are path, glaciar"),
        ("path,score,score\na.png,1,1\n", "has more than one column score; its columns are path, score, score"),
        ("", "is not CSV of path and score (Empty CSV file)"),
        (b"path,score\na.png,0.5\n\xff\xfe,0.5\n", "is not CSV of path and score (In CSV column #0: Row #3: CSV conv"),
    ],
)
def test_a_fault_in_a_csv_file_of_scores_is_named(tmp_path, text, expected):
    file = tmp_path / "scores.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message(read_scores, file).startswith(f"{file}: ")
    assert expected in message(read_scores, file)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"path": ["a.png"], "score": [float("inf")]}, "a.png: the score inf is not a probability"),
        ({"path": ["a.png"], "score": pa.array([None], pa.float64())}, "a.png: the score nan is not a probability"),
        ({"path": ["a.png"], "score": ["0.5"]}, "the column score holds string"),
        ({"path": ["a.png", None], "score": [0.5, 0.5]}, "row 2 has no path"),
        ({"path": [[1]], "score": [0.5]}, "the column path does not hold text"),
        ({"name": ["a.png"], "score": [0.5]}, "has no column path; its columns are name, score"),
    ],
)
def test_a_fault_in_a_parquet_file_of_scores_is_named(tmp_path, columns, expected):
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    assert expected in message(read_scores, tmp_path / "scores.parquet")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.parquet").write_text("path,score\n")
    (tmp_path / "a.txt").write_text("path,score\n")
    (tmp_path / "empty").mkdir()
    for read in (read_scores, read_masks):
        assert "a.parquet: is not a Parquet file" in message(read, tmp_path / "a.parquet")
        assert "a.txt: its name does not end in .parquet" in message(read, tmp_path / "a.txt")
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "away.parquet")
    assert "holds no PNG files" in message(read_masks, tmp_path / "empty")


def test_scores_that_cannot_be_written_leave_the_file_as_it_was(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("before")
    assert "3 paths and scores of shape (2,)" in message(write_scores, file, PATHS, [0.5, 0.5])
    assert f"{PATHS[1]}: the score 2.0 is not a probability" in message(write_scores, file, PATHS, [0.5, 2, 0.5])
    assert "does not end in .parquet or .csv" in message(write_scores, tmp_path / "scores.txt", PATHS, [0.5, 1, 0.5])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"scores.csv": "before"}


def test_written_masks_are_images_to_datasets(tmp_path):
    file = tmp_path / "masks.parquet"
    assert write_masks(file, zip(PATHS, MASKS, strict=True)) == 3
    assert_holds_the_masks(file)
    loaded = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features == datasets.Features({"path": datasets.Value("string"), "mask": datasets.Image()})
    assert (mask_to_class_indices(loaded[1]["mask"]) == MASKS[1]).all()


def test_masks_are_written_in_small_row_groups(tmp_path):
    written = write_masks(tmp_path / "a.parquet", ((f"test/glaciar/{number}.png", MASKS[1]) for number in range(250)))
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert written == 250
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [100, 100, 50]


@pytest.mark.parametrize("mask", [MASKS[1] * 2, MASKS[1, :64], MASKS[1] * 0.5])
def test_a_mask_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, mask):
    masks = [(PATHS[0], MASKS[0]), (PATHS[1], mask)]
    assert f"masks.parquet: {PATHS[1]}: class indices are" in message(write_masks, tmp_path / "masks.parquet", masks)
    assert "does not end in .parquet" in message(write_masks, tmp_path / "masks.csv", masks[:1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("column", COLUMNS)
def test_masks_are_read_from_every_kind_of_column(tmp_path, column):
    for name in ("mask", "masks"):
        file = write_table(tmp_path / f"{name}.parquet", COLUMNS[column](), name)
        assert MaskPredictions(file).are_probabilities == (column == "floats")
        assert_holds_the_masks(file)


def test_masks_are_read_from_an_array_feature_of_datasets(tmp_path):
    features = datasets.Features({"path": datasets.Value("string"), "mask": datasets.Array2D((128, 128), "uint8")})
    file = tmp_path / "masks.parquet"
    datasets.Dataset.from_dict({"path": PATHS, "mask": list(MASKS)}, features).to_parquet(file)
    assert_holds_the_masks(file)


@pytest.mark.parametrize("form", PNGS)
def test_masks_are_read_from_a_folder_of_png_files(tmp_path, form):
    for path, mask in zip(PATHS, MASKS, strict=True):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(PNGS[form](mask))
        file.with_name(f"._{file.name}").write_bytes(b"as macOS leaves beside files")
    (tmp_path / "notes.txt").write_text("")
    assert_holds_the_masks(tmp_path)


def test_a_probability_is_rock_glacier_from_the_threshold_up(tmp_path):
    file = write_table(tmp_path / "masks.parquet", pa.array(np.where(MASKS == 1, 0.75, 0.5).tolist()))
    assert_holds_the_masks(file, threshold=0.75)
    assert all(mask.all() for _, mask in MaskPredictions(file))
    assert not any(mask.any() for _, mask in MaskPredictions(file, threshold=0.76))


def coloured(mask):
    image = class_indices_to_mask(mask)
    image.putpixel((5, 7), (255, 0, 0, 255))
    return png(image)


GOOD = PNGS["1-bit"](MASKS[0])
ROWS = MASKS[0].tolist()
SOFT = np.zeros((128, 128)).tolist()
FAULTS = {
    "size": (GOOD, png(Image.new("L", (64, 128))), "is 64 x 128, 8-bit grey; write"),
    "values": (GOOD, PNGS["grey of 0 and 1"](MASKS[1] * 3), "has the values 0, 3; a mask's are 0 and 1, or 0 and 255"),
    "colours": (GOOD, coloured(MASKS[1]), "got (255, 0, 0, 255) at y=7, x=5"),
    "no PNG": (GOOD, b"\xff\xd8\xff", "is a JPEG; write the mask as a PNG file of 128 x 128"),
    "depth": (
        GOOD,
        png(Image.fromarray(MASKS[1].astype(np.uint16))),
        "is 128 x 128, 16-bit grey; write",
    ),
    "checksum": (GOOD, GOOD[:-20] + bytes([GOOD[-20] ^ 1]) + GOOD[-19:], "the checksum of its chunk b'IDAT' is wrong"),
    "cut": (GOOD, PNGS["the dataset's colours"](MASKS[1])[:90], "is a PNG cut short"),
    "none": (GOOD, None, "has no mask; predict one"),
    "a name": ({"bytes": GOOD, "path": None}, {"bytes": None, "path": "a.png"}, "is only the name of a file, a.png"),
    "no array": (ROWS, None, "has no mask; predict one"),
    "ragged": (ROWS, [[0] * 128, [0] * 127], "is rows of 127, 128 numbers"),
    "short": (ROWS, MASKS[0, :64].tolist(), "is 64 x 128 pixels; a mask has 128 x 128"),
    "without rows": (ROWS, [], "is rows of no numbers"),
    "holes": (ROWS, [[None] * 128] * 128, "has pixels without a value"),
    "numbers": (ROWS, (MASKS[1] * 2).tolist(), "has the values 0, 2"),
    "logits": (SOFT, np.full((128, 128), -1.5).tolist(), "has values that are not probabilities"),
    "nan": (SOFT, np.full((128, 128), np.nan).tolist(), "has values that are not probabilities"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_mask_is_named(tmp_path, fault):
    good, bad, expected = FAULTS[fault]
    file = write_table(tmp_path / "masks.parquet", pa.array([good, bad]), paths=PATHS[:2])
    found = message(read_masks, file)
    assert found.startswith(f"{file}: {PATHS[1]}: ")
    assert expected in found


def test_a_damaged_file_of_a_folder_is_named(tmp_path):
    (tmp_path / "test" / "glaciar").mkdir(parents=True)
    (tmp_path / PATHS[1]).write_bytes(b"")
    assert message(read_masks, tmp_path).startswith(f"{tmp_path}: {PATHS[1]}: is empty; write the mask as a PNG file")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"path": PATHS, "mask": ["0 0 1"] * 3}, "the column mask holds string; masks are PNG files"),
        ({"path": PATHS, "mask": [[0, 1]] * 3}, "the column mask holds list"),
        ({"path": PATHS, "mask": [[["0"] * 128] * 128] * 3}, "has values of the type object"),
        ({"path": PATHS, "score": [0.5] * 3}, "has no column mask; its columns are path, score"),
        ({"mask": [GOOD] * 3}, "has no column path; its columns are mask"),
    ],
)
def test_a_table_without_masks_is_refused(tmp_path, columns, expected):
    pq.write_table(pa.table(columns), tmp_path / "masks.parquet")
    assert expected in message(read_masks, tmp_path / "masks.parquet")
