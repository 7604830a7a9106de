"""Pixels are those that Pillow decodes, whatever the way to them."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io

import numpy as np
import pytest
import tile_pixels
from archive_contents import contents
from PIL import Image
from PIL import PngImagePlugin
from tile_pixels import decoded
from tile_pixels import decoded_upper_rows

from rock_glacier_dataset import TILE_SIZE


def by_pillow(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).view("<u4")[..., 0]


def saved(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def noise(mode: str = "RGBA") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (TILE_SIZE, TILE_SIZE, 4), np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


@pytest.mark.parametrize("archive", ["train", "train_masks"])
def test_tiles_and_masks_are_decoded_as_by_pillow(sample, archive):
    for png in contents(sample, archive).values():
        assert np.array_equal(decoded(png), by_pillow(png))
        assert np.array_equal(decoded_upper_rows(png, 16), by_pillow(png)[:16])


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "P", "1", "LA", "I;16"])
def test_other_files_are_decoded_as_by_pillow(mode):
    image = noise("L").convert("I").convert("I;16") if mode == "I;16" else noise(mode)
    assert np.array_equal(decoded(saved(image)), by_pillow(saved(image)))


def test_odd_files_of_the_right_kind_are_decoded_as_by_pillow():
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 9999)
    odd = [
        saved(noise(), compress_level=0),
        saved(noise(), pnginfo=text),
        saved(noise().crop((0, 0, 100, 60))),
    ]
    assert [kind for kind, _ in tile_pixels._chunks(odd[0])].count(b"IDAT") > 1
    for png in odd:
        assert np.array_equal(decoded(png), by_pillow(png))


@pytest.mark.parametrize("share", [0.99, 0.5, 0.05])
def test_a_file_that_is_cut_short_is_what_pillow_makes_of_it(share):
    png = saved(noise().resize((TILE_SIZE, TILE_SIZE), Image.Resampling.BICUBIC, box=(0, 0, 40, 40)))
    cut = png[: int(len(png) * share)]
    with pytest.raises(ValueError, match="truncated"):
        decoded(cut)
    with pytest.raises(OSError, match="truncated"):
        by_pillow(cut)


def test_a_file_whose_last_checksums_are_lost_is_what_pillow_makes_of_it():
    png = saved(noise())[:-20]
    assert np.array_equal(decoded(png), by_pillow(png))


def test_pillow_is_given_a_tile_inflated(sample, monkeypatch):
    png = next(iter(contents(sample, "train").values()))
    read = []
    original = tile_pixels._by_pillow

    def by_pillow_as_told(png):
        read.append(len(png))
        return original(png)

    monkeypatch.setattr(tile_pixels, "_by_pillow", by_pillow_as_told)
    decoded(png)
    assert len(read) == 1
    assert read[0] > 4 * TILE_SIZE**2 > len(png)
