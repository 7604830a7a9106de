"""Predictions as files: they are read from whatever tool wrote them, and each fault is named in one message."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import os

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rock_glacier.masks import class_indices_to_mask, mask_to_class_indices
from rock_glacier.scoring.predictions import PredictionError, read_masks, read_scores, write_masks, write_scores

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


def write_table(file, column, paths=PATHS):
    pq.write_table(pa.table({"path": paths, "mask": column}), file)
    return file


def assert_holds_the_masks(place):
    paths, masks = read_masks(place)
    assert paths == PATHS
    np.testing.assert_array_equal(np.stack(list(masks)), MASKS, strict=True)


def message(read, place) -> str:
    with pytest.raises(PredictionError) as caught:
        list(read(place)[1])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_scores_come_back_as_they_were_written(tmp_path):
    write_scores(tmp_path / "a.parquet", PATHS, np.array([0.0, 1 / 3, 1.0]))
    paths, found = read_scores(tmp_path / "a.parquet")
    assert (paths, found.tolist()) == (PATHS, [0.0, 1 / 3, 1.0])


def test_scores_of_other_tools_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffepoch,score,path\n3,1,a.png\n3,.25,b.png\n", encoding="utf-8")
    scores, paths = pa.array([1, 0.25], pa.float32()), pa.array(["a.png", "b.png"]).dictionary_encode()
    pq.write_table(pa.table({"score": scores, "path": paths}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        paths, scores = read_scores(tmp_path / name)
        assert (paths, scores.tolist()) == (["a.png", "b.png"], [1.0, 0.25])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("path,score\na.png,1.7\nb.png,1\nc.png,-3\n", "a.png: the score 1.7 is not a probability (nor are 1 more)"),
        ("path,score\na.png,nan\n", "a.png: the score nan is not a probability"),
        ("path,score\na.png,\n", "a.png: the score nan is not a probability"),
        ("path,score\na.png,high\n", "Row #2: CSV conversion error to double: invalid value 'high'"),
        ("path,score\na.png,0.5\nb.png\n", "Row #3: Expected 2 columns, got 1: b.png"),
        (
            "path,score\na.png,0,9\n",
            "Row #2: Expected 2 columns, got 3: a.png,0,9); put commas between fields, and write",
        ),
        ('path,score\na.png,"0,9"\n', "Row #2: CSV conversion error to double: invalid value '0,9'"),
        ("path;score\na.png;0,9\n", "Row #2: Expected 1 columns, got 2"),
        ("path,score\na.png,\u0660.\u0665\n", "Row #2: CSV conversion error to double: invalid value"),
        ("path,score\na.png,1_0e-1\n", "Row #2: CSV conversion error to double: invalid value '1_0e-1'"),
        ("path,score\na.png,0.5\n,0.5\n", "row 2 has no path"),
        ("path,glaciar\na.png,0.5\n", "has no column score; its columns are path, glaciar"),
        ("path,score,score\na.png,1,1\n", "has more than one column score; its columns are path, score, score"),
        ("", "cannot be read as CSV (Empty CSV file)"),
        (b"path,score\na.png,0.5\n\xff\xfe,0.5\n", "cannot be read as CSV (In CSV column #0: Row #3: CSV conv"),
        ({"path": ["a.png"], "score": [float("inf")]}, "a.png: the score inf is not a probability"),
        ({"path": ["a.png"], "score": pa.array([None], pa.float64())}, "a.png: the score nan is not a probability"),
        ({"path": ["a.png"], "score": ["0.5"]}, "the column score holds string"),
        ({"path": [[1]], "score": [0.5]}, "the column path does not hold text"),
        ({"path": pa.array([b"\xff.png"]).view(pa.string()), "score": [0.5]}, "Invalid UTF8 sequence"),
        ({"name": ["a.png"], "score": [0.5]}, "has no column path; its columns are name, score"),
    ],
)
def test_a_fault_in_scores_is_named(tmp_path, content, expected):
    file = tmp_path / ("scores.parquet" if isinstance(content, dict) else "scores.csv")
    if isinstance(content, dict):
        pq.write_table(pa.table(content), file)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message(read_scores, file).startswith(f"{file}: ")
    assert expected in message(read_scores, file)


@pytest.mark.parametrize("read", [read_scores, read_masks])
def test_other_files_are_refused(tmp_path, read):
    (tmp_path / "a.parquet").write_text("path,score\n")
    assert "a.parquet: cannot be read as Parquet" in message(read, tmp_path / "a.parquet")
    (tmp_path / "b.parquet").mkdir()
    assert "b.parquet" in message(read, tmp_path / "b.parquet")
    assert "a.txt: its name does not end in .parquet" in message(read, tmp_path / "a.txt")
    assert "away.parquet: no such file; give the predictions of" in message(read, tmp_path / "away.parquet")


def test_rows_that_a_file_claims_are_not_taken_for_memory(tmp_path):
    many = pa.array(np.zeros(2**22 + 1, np.int8)).dictionary_encode()  # some kilobytes
    pq.write_table(
        pa.table({"path": many.cast(pa.string()).dictionary_encode(), "score": many}), tmp_path / "a.parquet"
    )
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    assert "a.parquet: claims 4,194,305 rows; give one for each tile" in message(read_scores, tmp_path / "a.parquet")


def test_a_damaged_page_and_a_doubled_column_are_named(tmp_path):
    file = write_table(tmp_path / "masks.parquet", [PNGS["1-bit"](mask) for mask in MASKS])
    content = bytearray(file.read_bytes())
    content[:400] = b"PAR1" + bytes(396)
    file.write_bytes(content)
    assert f"{file}: cannot be read as Parquet (" in message(read_masks, file)
    columns = [pa.array(PATHS), pa.array([0.5] * 3), pa.array([0.5] * 3)]
    pq.write_table(pa.table(columns, ["path", "score", "score"]), tmp_path / "scores.parquet")
    expected = "has more than one column score; its columns are path, score, score"
    assert expected in message(read_scores, tmp_path / "scores.parquet")


def test_written_masks_are_images_to_datasets_in_small_row_groups(tmp_path):
    file = tmp_path / "masks.parquet"
    write_masks(file, zip(PATHS, MASKS, strict=True))
    assert_holds_the_masks(file)
    loaded = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features == datasets.Features({"path": datasets.Value("string"), "mask": datasets.Image()})
    assert (mask_to_class_indices(loaded[1]["mask"]) == MASKS[1]).all()
    write_masks(file, [(PATHS[0], MASKS[0])] * 150)
    metadata = pq.read_metadata(file)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [100, 50]


def test_masks_are_read_from_columns_of_bytes_or_images(tmp_path):
    images = [{"bytes": PNGS["grey of 0 and 255"](mask), "path": None} for mask in MASKS]
    for column in (pa.array(map(PNGS["1-bit"], MASKS), pa.large_binary()), [*map(PNGS["palette"], MASKS)], images):
        assert_holds_the_masks(write_table(tmp_path / "masks.parquet", column))


@pytest.mark.parametrize("form", PNGS)
def test_masks_are_read_from_a_folder_of_png_files(tmp_path, form):
    for path, mask in zip(PATHS, MASKS, strict=True):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(PNGS[form](mask))
        file.with_name(f"._{file.name}").write_bytes(b"as macOS leaves beside files")
    (tmp_path / "notes.txt").write_text("")
    assert_holds_the_masks(tmp_path)
    (tmp_path / PATHS[1]).write_bytes(b"")
    assert message(read_masks, tmp_path).startswith(f"{tmp_path}: {PATHS[1]}: is empty; write the mask as a PNG file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_folder_of_masks_is_read_as_far_as_its_files_are_masks(tmp_path):
    pipe, large, folder, link = (tmp_path / name / "0.png" for name in ("pipe", "large", "folder", "link"))
    for file in (pipe, large, folder, link):
        file.parent.mkdir()
    link.symlink_to("missing")
    os.mkfifo(pipe)  # nobody writes to it
    large.touch()
    os.truncate(large, 3 * 2**30)
    folder.mkdir()
    assert "0.png: is no regular file; remove it" in message(read_masks, pipe.parent)
    assert "0.png: is no regular file; remove it" in message(read_masks, folder.parent)
    assert "0.png: has 3,221,225,472 bytes; save it with at most" in message(read_masks, large.parent)
    assert "0.png: cannot be read (No such file or directory); make it readable" in message(read_masks, link.parent)


def test_a_folder_without_png_files_is_named(tmp_path):
    assert "holds no PNG files" in message(read_masks, tmp_path)


def coloured(mask, colour):
    image = class_indices_to_mask(mask)
    image.putpixel((5, 7), colour)
    return png(image)


GOOD = PNGS["1-bit"](MASKS[0])
FAULTS = {
    "size": (png(Image.new("L", (64, 128))), "is 64 x 128, 8-bit grey; write"),
    "values": (PNGS["grey of 0 and 1"](MASKS[1] * 3), "has the values 0, 3; a mask's are 0 and 1, or 0 and 255"),
    "colours": (coloured(MASKS[1], (255, 0, 0, 255)), "got (255, 0, 0, 255) at y=7, x=5"),
    "transparent": (coloured(MASKS[1], (0, 0, 0, 0)), "got (0, 0, 0, 0) at y=7, x=5"),
    "no PNG": (b"\xff\xd8\xff", "is a JPEG; write the mask as a PNG file of 128 x 128"),
    "depth": (png(Image.fromarray(MASKS[1].astype(np.uint16))), "is 128 x 128, 16-bit grey; write"),
    "checksum": (GOOD[:-20] + bytes([GOOD[-20] ^ 1]) + GOOD[-19:], "the checksum of its chunk b'IDAT' is wrong"),
    "none": (None, "has no mask; give the bytes of a PNG file"),
    "a name": ({"bytes": None, "path": "a.png"}, "has no mask; give the bytes of a PNG file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_mask_is_named(tmp_path, fault):
    bad, expected = FAULTS[fault]
    good = {"bytes": GOOD, "path": None} if isinstance(bad, dict) else GOOD
    file = write_table(tmp_path / "masks.parquet", pa.array([good, bad]), PATHS[:2])
    found = message(read_masks, file)
    assert found.startswith(f"{file}: {PATHS[1]}: ")
    assert expected in found


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"path": PATHS, "mask": [{"bytes": "a PNG file"}] * 3}, f"{PATHS[0]}: has no mask; give the bytes of a PNG"),
        ({"path": PATHS, "mask": [[0, 1]] * 3}, "int64>; masks are PNG files as bytes, or images"),
        ({"path": PATHS, "score": [0.5] * 3}, "has no column mask; its columns are path, score"),
        ({"mask": [GOOD] * 3}, "has no column path; its columns are mask"),
    ],
)
def test_a_table_without_masks_is_refused(tmp_path, columns, expected):
    pq.write_table(pa.table(columns), tmp_path / "masks.parquet")
    assert expected in message(read_masks, tmp_path / "masks.parquet")
