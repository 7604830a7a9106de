"""Everything that can be wrong with a folder of archives, found by looking at every tile and mask.

The unit of work is a part of an archive shard. Each worker opens the archives for itself, so that `data_dir` may lie on
storage that several machines see; what goes between them is small: landmarks, proposals and findings, never pixels.

1. Every tile's upper rows give the landmarks by which overlaps are found (`overlaps`).
2. Every tile and mask is decoded and checked, and the tile's windows are looked up among the landmarks.
3. The pairs that this proposes are compared pixel by pixel, and so are tiles that may be one another, turned.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import zlib
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import datasets
import numpy as np
import numpy.typing as npt
from overlaps import LANDMARK
from overlaps import PROPOSAL
from overlaps import WINDOW
from overlaps import LandmarkTable
from overlaps import Overlap
from overlaps import are_corners_rich
from overlaps import colour_hashes
from overlaps import landmarks
from overlaps import largest_overlaps
from overlaps import shared_pixels
from overlaps import window_hashes
from tile_pixels import BACKGROUND
from tile_pixels import COLOURS
from tile_pixels import ROCK_GLACIER
from tile_pixels import Pixels
from tile_pixels import check_chunks
from tile_pixels import decoded
from tile_pixels import decoded_upper_rows
from tile_pixels import turned_alike
from worker_tasks import Workers

import rock_glacier_dataset
from rock_glacier_dataset import CLASS_NAMES
from rock_glacier_dataset import MANIFEST_NAME
from rock_glacier_dataset import SPLIT_NAMES
from rock_glacier_dataset import TILE_SIZE
from rock_glacier_dataset import ArchiveError
from rock_glacier_dataset import sha256_of_file

CODES = (
    "archive-unreadable",
    "member-name",
    "member-duplicate",
    "class-unknown",
    "png-corrupt",
    "png-format",
    "mask-missing",
    "mask-orphan",
    "mask-format",
    "mask-values",
    "mask-not-empty",
    "mask-empty",
    "duplicate-pixels",
    "overlap-across-splits",
    "manifest-mismatch",
)

_PART = 500
"""Tiles in one piece of work."""

_COMPARED_PART = 2000
"""Pairs in one piece of work."""

_KEPT_TILES = 1500
"""Tiles whose pixels a worker keeps while it compares pairs, 64 KiB each."""


class Finding(NamedTuple):
    """Something that is wrong.

    Attributes:
        code: one of `CODES`.
        severity: "error" or "warning".
        path: the member, such as `train/glaciar/12.png`, or else the archive or folder.
        message: says what is wrong and what to do.
    """

    code: str
    severity: str
    path: str
    message: str


class Shard(NamedTuple):
    """One archive of tiles, and the one of their masks.

    Attributes:
        split: name of the split.
        tiles: file name of the archive of tiles.
        masks: file name of the archive of masks; None where the folder has none.
        first: number of its first tile, counting through all shards.
        tile_count: number of its tiles.
    """

    split: str
    tiles: str
    masks: str | None
    first: int = 0
    tile_count: int = 0


class MaskArchive(NamedTuple):
    """One archive of masks.

    Attributes:
        split: name of the split.
        name: file name.
        mask_count: number of its masks.
    """

    split: str
    name: str
    mask_count: int


class Coverage(NamedTuple):
    """How much of the masks of one split is rock glacier.

    Attributes:
        masks: number of masks that show a rock glacier.
        mean: mean share of their pixels that do, in [0, 1].
        least: the smallest share.
        most: the largest share.
    """

    masks: int
    mean: float
    least: float
    most: float


class Audit(NamedTuple):
    """What was found in a folder of archives.

    Attributes:
        tiles: number of tiles in each split and class.
        findings: in the order of `CODES`, then of paths.
        overlaps: every pair of tiles cut over the same ground, with their paths in place of numbers.
        groups: group of each tile, by its path: tiles of one group are connected by overlaps.
        coverage: of each split that has masks.
    """

    tiles: dict[str, dict[str, int]]
    findings: list[Finding]
    overlaps: list[dict[str, Any]]
    groups: dict[str, int]
    coverage: dict[str, Coverage]

    @property
    def errors(self) -> int:
        """Number of findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Number of findings that are warnings."""
        return len(self.findings) - self.errors

    def as_json(self) -> dict[str, Any]:
        """Return the report as design contracts it: tiles, findings, overlaps, groups."""
        return {
            "tiles": self.tiles,
            "findings": [finding._asdict() for finding in self.findings],
            "overlaps": self.overlaps,
            "groups": len(set(self.groups.values())),
        }


def audit(data_dir: str | os.PathLike[str], workers: Workers | None = None) -> Audit:
    """Check everything about a folder of archives.

    Args:
        data_dir: the folder, local or on storage that all workers see.
        workers: who does the work; by default every core of this machine.

    Returns:
        what was found; a broken archive is a finding, and the others are checked.

    Raises:
        ArchiveError: there is no such folder, or no archive in it.
        BackendError: the workers cannot be reached.
    """
    folder = rock_glacier_dataset._absolute(os.fspath(data_dir))
    files = rock_glacier_dataset._list_files(folder, datasets.DownloadConfig())
    if not any(rock_glacier_dataset._ARCHIVE_NAME.fullmatch(name) for name in files):
        raise ArchiveError(f"{folder}: holds no archives; give the folder that holds train.zip")
    found: list[Finding] = []
    masks: list[MaskArchive] = []
    shards = list(_numbered(folder, _find_shards(folder, files, found), found, masks))
    keys = _Keys(folder, shards)
    found += keys.doubled_across_shards(folder)
    found += _check_manifest(folder, files, keys)
    run = (workers or Workers()).run
    parts = [(folder, shard, *span) for shard in shards for span in _spans(shard.tile_count)]
    table = LandmarkTable(run("Reading landmarks", _part_landmarks, parts))
    checked = run("Checking tiles", _check_part, [(*part, table) for part in parts])
    found += itertools.chain.from_iterable(part.findings for part in checked)
    mask_parts = [(folder, archive, *span) for archive in masks for span in _spans(archive.mask_count)]
    checked_masks = run("Checking masks", _check_masks, mask_parts)
    found += itertools.chain.from_iterable(findings for findings, _ in checked_masks)
    sound = np.concatenate([np.zeros(0, bool), *(part.sound for part in checked)]) & keys.are_first
    overlaps = _confirm(folder, shards, checked, sound, run)
    found += _overlap_findings(overlaps, keys)
    found += _duplicate_findings(folder, shards, checked, sound, keys, run)
    of_masks = zip(mask_parts, checked_masks, strict=True)
    coverage = _coverage((archive.split, covered) for (_, archive, *_), (_, covered) in of_masks)
    ordered = sorted(set(found), key=lambda one: (CODES.index(one.code), one.severity, keys.place(one.path), one))
    return Audit(keys.counts(), ordered, _rows(overlaps, keys), _groups(overlaps, keys), coverage)


# ------------------------------------------------------------------------------------------------------ what there is


def _find_shards(folder: str, files: dict[str, Any], found: list[Finding]) -> Iterator[Shard]:
    """Yield the shards that are there, and tell what is missing."""
    any_masks = any("_masks" in name for name in files if rock_glacier_dataset._ARCHIVE_NAME.fullmatch(name))
    for split in SPLIT_NAMES:
        kinds = {
            kind: sorted(
                name
                for name in files
                if (match := rock_glacier_dataset._ARCHIVE_NAME.fullmatch(name)) and match[1] == split + kind
            )
            for kind in ("", "_masks")
        }
        with _telling(found):
            tiles = rock_glacier_dataset._find_archives(files, split, "", folder)
            if any_masks:
                rock_glacier_dataset._find_masks(files, split, tiles, folder)
        masks = {name.replace("_masks", "", 1): name for name in kinds["_masks"]}
        for name in kinds[""]:
            yield Shard(split, name, masks.get(name))


@contextlib.contextmanager
def _telling(found: list[Finding]) -> Iterator[None]:
    """Turn an ArchiveError into a finding."""
    try:
        yield
    except ArchiveError as error:
        found.append(_finding(error))


def _finding(error: ArchiveError, severity: str = "error") -> Finding:
    return Finding(error.code, severity, error.path or str(error).partition(":")[0], str(error))


def _open(folder: str, name: str, split: str, on_fault: Callable[[ArchiveError], object]) -> Any:
    path = rock_glacier_dataset._join(folder, name)
    return rock_glacier_dataset._Archive(name, path, split, datasets.DownloadConfig(), on_fault)


def _ignore(fault: ArchiveError) -> None:
    """Leave out a member that another piece of work tells of."""


def _spans(count: int) -> Iterator[tuple[int, int]]:
    """Cut an archive's members into parts."""
    for start in range(0, count, _PART):
        yield start, min(start + _PART, count)


def _numbered(folder: str, shards: Iterable[Shard], found: list[Finding], masks: list[MaskArchive]) -> Iterator[Shard]:
    """Number the tiles through all shards, and tell of the faults of the archives' directories and of their pairs.

    Args:
        folder: the folder of archives.
        shards: the shards that are there.
        found: is told of the faults.
        masks: takes the archives of masks that can be read.
    """

    def tell(fault: ArchiveError) -> None:
        found.append(_finding(fault))

    first = 0
    for shard in shards:
        with contextlib.ExitStack() as stack:
            opened = {}
            for name in filter(None, (shard.tiles, shard.masks)):
                with _telling(found):
                    opened[name] = stack.enter_context(_open(folder, name, shard.split, tell))
            if shard.masks in opened:
                masks.append(MaskArchive(shard.split, str(shard.masks), len(opened[shard.masks].members)))
            if shard.tiles not in opened:
                continue
            tiles = opened[shard.tiles]
            if not len(tiles.members):
                tell(tiles.fault("holds no tiles", "add them, or build the archives again"))
            if shard.masks in opened:
                rock_glacier_dataset._pair(tiles, opened[shard.masks], tell)
            yield shard._replace(first=first, tile_count=len(tiles.members))
            first += len(tiles.members)


class _Keys:
    """The tiles of all shards by number: their paths, splits and classes."""

    def __init__(self, folder: str, shards: Sequence[Shard]) -> None:
        self.shards = shards
        self.total = sum(shard.tile_count for shard in shards)
        self.keys = np.zeros(self.total, np.int64)
        self.splits = np.zeros(self.total, np.int8)
        for shard in shards:
            if shard.tile_count:
                with _open(folder, shard.tiles, shard.split, _ignore) as archive:
                    rows = slice(shard.first, shard.first + shard.tile_count)
                    self.keys[rows] = archive.members["key"]
                    self.splits[rows] = SPLIT_NAMES.index(shard.split)
        self._paths = [
            f"{SPLIT_NAMES[split]}/{CLASS_NAMES[label]}/{tile_id}.png"
            for split, (label, tile_id) in zip(
                self.splits.tolist(),
                (divmod(key, 10**rock_glacier_dataset._ID_DIGITS) for key in self.keys.tolist()),
                strict=True,
            )
        ]
        self._places = {path: number for number, path in reversed(list(enumerate(self._paths)))}
        places = np.fromiter((self._places[path] for path in self._paths), np.int64, self.total)
        self.are_first = places == np.arange(self.total)
        """For each tile whether it is the first of its path; another is told of, and left out."""

    def path(self, number: int) -> str:
        return self._paths[number]

    def place(self, path: str) -> int:
        """Return the place of a tile among all, and of anything else before them."""
        return self._places.get(path, -1)

    def doubled_across_shards(self, folder: str) -> Iterator[Finding]:
        """Yield the tiles that stand in two shards of their split; within one, the archive tells."""
        for shard in self.shards:
            before = self.keys[: shard.first][self.splits[: shard.first] == SPLIT_NAMES.index(shard.split)]
            doubled = np.intersect1d(before, self.keys[shard.first : shard.first + shard.tile_count])
            if doubled.size:
                with _open(folder, shard.tiles, shard.split, _ignore) as archive:
                    yield from (_finding(archive.doubled_across_shards(key)) for key in doubled.tolist())

    def counts(self) -> dict[str, dict[str, int]]:
        labels = self.keys // 10**rock_glacier_dataset._ID_DIGITS
        return {
            split: {
                name: int(((self.splits == number) & (labels == label)).sum()) for label, name in enumerate(CLASS_NAMES)
            }
            for number, split in enumerate(SPLIT_NAMES)
        }


def _check_manifest(folder: str, files: dict[str, Any], keys: _Keys) -> Iterator[Finding]:
    """Yield what differs from the manifest: sizes and checksums of the archives, and numbers of tiles."""
    found: list[Finding] = []
    manifest: dict[str, Any] = {}
    with _telling(found):
        manifest = rock_glacier_dataset._read_manifest(files.get(MANIFEST_NAME), datasets.DownloadConfig())
    names = sorted(name for name in files if rock_glacier_dataset._ARCHIVE_NAME.fullmatch(name))
    for name in names:
        with _telling(found):
            rock_glacier_dataset._check_sizes(manifest, [name], files)
            expected = manifest.get("archives", {}).get(name)
            is_local = not rock_glacier_dataset._is_url(files[name].path)
            if expected and is_local and sha256_of_file(files[name].path) != expected["sha256"]:
                raise rock_glacier_dataset._manifest_fault(name, f"has another SHA-256 than in {MANIFEST_NAME}")
    for name in sorted(manifest.get("archives", {}).keys() - set(names)):
        fault = rock_glacier_dataset._manifest_fault(name, f"is in {MANIFEST_NAME}, but not in the folder")
        found.append(_finding(fault))
    if "splits" in manifest:
        for split, counts in keys.counts().items():
            for name, count in counts.items():
                expected = manifest["splits"].get(split, {}).get(name, 0)
                if count != expected:
                    fault = rock_glacier_dataset._manifest_fault(
                        MANIFEST_NAME, f"tells of {expected} {name} tiles in {split}, where there are {count}"
                    )
                    found.append(_finding(fault))
    yield from found


# ------------------------------------------------------------------------------------------------- the pieces of work


class _Checked(NamedTuple):
    """What came of checking a part of a shard.

    Attributes:
        findings: its tiles' and masks' faults.
        proposals: array of `PROPOSAL`.
        signatures: uint64 for each tile, the same for tiles that are one another turned or mirrored.
        sound: for each tile whether it could be decoded.
    """

    findings: list[Finding]
    proposals: np.ndarray
    signatures: npt.NDArray[np.uint64]
    sound: npt.NDArray[np.bool_]


def _part_landmarks(folder: str, shard: Shard, first: int, last: int) -> np.ndarray:
    """Find the landmarks of a part's tiles; those that cannot be decoded have none."""
    found = [np.zeros(0, LANDMARK)]
    with _open(folder, shard.tiles, shard.split, _ignore) as archive:
        for row in range(first, last):
            member = archive.members[row].item()
            try:
                png = archive.read_png(member, archive.member_name(member[0]))
                pixels = decoded_upper_rows(png, WINDOW) & COLOURS
                if not are_corners_rich(pixels):
                    pixels = decoded(png) & COLOURS
            except (ValueError, zlib.error):  # an ArchiveError is one, too
                continue  # which the check of this part tells of
            found.append(landmarks(shard.first + row, pixels))
    return np.concatenate(found)


def _check_part(folder: str, shard: Shard, first: int, last: int, table: LandmarkTable) -> _Checked:
    """Decode and check a part's tiles."""
    findings: list[Finding] = []
    proposals = [np.zeros(0, PROPOSAL)]
    signatures = np.zeros(last - first, np.uint64)
    sound = np.zeros(last - first, bool)
    with _open(folder, shard.tiles, shard.split, _ignore) as tiles:
        for row in range(first, last):
            member = tiles.members[row].item()
            pixels = _decoded_member(tiles, member, tiles.member_name(member[0]), findings)
            if pixels is not None:
                pixels = pixels & COLOURS
                colours = colour_hashes(pixels)
                proposals.append(table.proposals(shard.first + row, pixels, window_hashes(colours)))
                # The sum of its colours' hashes is the same for a tile that is turned or mirrored.
                signatures[row - first] = colours.sum(dtype=np.uint64)
                sound[row - first] = True
    return _Checked(findings, np.concatenate(proposals), signatures, sound)


def _check_masks(
    folder: str, archive: MaskArchive, first: int, last: int
) -> tuple[list[Finding], npt.NDArray[np.int32]]:
    """Decode and check a part of an archive of masks; return the number of rock glacier pixels of each, too."""
    findings: list[Finding] = []
    covered = np.zeros(last - first, np.int32)
    with _open(folder, archive.name, archive.split, _ignore) as masks:
        for row in range(first, last):
            member = masks.members[row].item()
            path = masks.member_name(member[0])
            mask = _decoded_member(masks, member, path, findings)
            if mask is not None:
                covered[row - first] = _check_mask(masks, path, mask, findings)
    return findings, covered


def _decoded_member(archive: Any, member: tuple[int, ...], path: str, findings: list[Finding]) -> Pixels | None:
    try:
        png = archive.read_png(member, path)
        check_chunks(png)
        return decoded(png)
    except ArchiveError as error:
        findings.append(_finding(error))
    except (ValueError, zlib.error) as error:
        what = f"cannot be decoded ({' '.join(str(error).split())})"
        remedy = "replace the member, or copy or download the archive again"
        findings.append(_finding(archive.fault(what, remedy, path, "png-corrupt")))
    return None


def _check_mask(masks: Any, path: str, mask: Pixels, findings: list[Finding]) -> int:
    """Check a mask's colours, and return the number of its rock glacier pixels."""
    rock_glacier = mask == ROCK_GLACIER
    covered = int(rock_glacier.sum())
    others = mask.size - covered - int((mask == BACKGROUND).sum())
    if others:
        edge = _only_antialiases(mask, rock_glacier)
        what = f"has {others} pixels of other colours than white and black" + (", along its edges" if edge else "")
        fault = masks.fault(what, "save it without antialiasing, opaque, in the two colours", path, "mask-values")
        findings.append(_finding(fault, "warning" if edge else "error"))
    is_glaciar = path.split("/")[1] == "glaciar"
    if covered and not is_glaciar:
        what = f"shows rock glacier on {covered} pixels, but its tile is cordillera"
        fault = masks.fault(what, "empty it, or move the tile and its mask to glaciar", path, "mask-not-empty")
        findings.append(_finding(fault))
    if not covered and is_glaciar:
        what, remedy = "shows no rock glacier, but its tile is glaciar", "draw it, or move the tile to cordillera"
        findings.append(_finding(masks.fault(what, remedy, path, "mask-empty")))
    return covered


def _only_antialiases(mask: Pixels, rock_glacier: npt.NDArray[np.bool_]) -> bool:
    """Tell whether all other colours are opaque greys between white and black, at most 2 pixels from both."""
    background = mask == BACKGROUND
    red, green, blue, alpha = (mask >> np.uint32(shift) & np.uint32(0xFF) for shift in (0, 8, 16, 24))
    grey = (red == green) & (green == blue) & (alpha == 255)
    between = grey & _grown(rock_glacier) & _grown(background)
    return bool((rock_glacier | background | between).all())


def _grown(marked: npt.NDArray[np.bool_], by: int = 2) -> npt.NDArray[np.bool_]:
    """Mark all pixels that are at most `by` rows and columns from a marked one."""
    padded = np.pad(marked, by)
    grown = np.zeros_like(marked)
    for y, x in itertools.product(range(2 * by + 1), repeat=2):
        grown |= padded[y : y + TILE_SIZE, x : x + TILE_SIZE]
    return grown


# ----------------------------------------------------------------------------------------------- overlaps and doubles


def _confirm(
    folder: str, shards: Sequence[Shard], checked: Sequence[_Checked], sound: npt.NDArray[np.bool_], run: Any
) -> list[Overlap]:
    """Compare the proposed pairs of sound tiles, the largest overlap of a pair first."""
    proposed = np.unique(np.concatenate([np.zeros(0, PROPOSAL), *(part.proposals for part in checked)]))
    proposed = proposed[sound[proposed["a"]] & sound[proposed["b"]]]
    dx, dy = proposed["dx"], proposed["dy"]
    areas = (TILE_SIZE - np.abs(dx).astype(np.int32)) * (TILE_SIZE - np.abs(dy).astype(np.int32))
    proposed = proposed[np.lexsort((dx, dy, np.abs(dx), np.abs(dy), -areas, proposed["b"], proposed["a"]))]
    pieces = [proposed[start : start + _COMPARED_PART] for start in range(0, len(proposed), _COMPARED_PART)]
    confirmed = run("Comparing pairs", _compare_part, [(folder, shards, piece) for piece in pieces])
    return largest_overlaps(itertools.chain.from_iterable(confirmed))


def _compare_part(folder: str, shards: Sequence[Shard], proposals: np.ndarray) -> list[Overlap]:
    """Compare proposed pairs pixel by pixel, each until an overlap is confirmed."""
    confirmed: dict[tuple[int, int], Overlap] = {}
    with contextlib.ExitStack() as stack:
        pixels_of = _cached_reader(folder, shards, stack)
        for a, b, dx, dy in proposals.tolist():
            if (a, b) not in confirmed:
                pixels = shared_pixels(pixels_of(a), pixels_of(b), dx, dy)
                if pixels:
                    confirmed[a, b] = Overlap(a, b, dx, dy, pixels)
    return list(confirmed.values())


def _cached_reader(folder: str, shards: Sequence[Shard], stack: contextlib.ExitStack) -> Callable[[int], Pixels]:
    """Give a function that returns a tile's colours by its number, and keeps those that were asked for last."""
    archives: dict[str, Any] = {}
    firsts = [shard.first for shard in shards if shard.tile_count]
    filled = [shard for shard in shards if shard.tile_count]

    @functools.lru_cache(_KEPT_TILES)
    def pixels_of(number: int) -> Pixels:
        shard = filled[int(np.searchsorted(firsts, number, "right")) - 1]
        if shard.tiles not in archives:
            archives[shard.tiles] = stack.enter_context(_open(folder, shard.tiles, shard.split, _ignore))
        archive = archives[shard.tiles]
        member = archive.members[number - shard.first].item()
        return decoded(archive.read_png(member, archive.member_name(member[0]))) & COLOURS

    return pixels_of


def _overlap_findings(overlaps: Sequence[Overlap], keys: _Keys) -> Iterator[Finding]:
    for one in overlaps:
        if keys.splits[one.a] != keys.splits[one.b]:
            a, b = keys.path(one.a), keys.path(one.b)
            message = (
                f"{a}: shows the same ground as {b}, on {one.pixels} pixels at dx={one.dx}, dy={one.dy}; "
                "put both into one split, as build_archives.py does"
            )
            yield Finding("overlap-across-splits", "error", a, message)


def _duplicate_findings(
    folder: str,
    shards: Sequence[Shard],
    checked: Sequence[_Checked],
    sound: npt.NDArray[np.bool_],
    keys: _Keys,
    run: Any,
) -> Iterator[Finding]:
    """Yield each tile whose pixels another has too, as they are or turned or mirrored."""
    signatures = np.concatenate([np.zeros(0, np.uint64), *(part.signatures for part in checked)])
    numbers_of_sound = np.flatnonzero(sound)
    _, inverse, counts = np.unique(signatures[numbers_of_sound], return_inverse=True, return_counts=True)
    candidates = numbers_of_sound[counts[inverse] > 1]
    pieces = [candidates[start : start + _COMPARED_PART] for start in range(0, len(candidates), _COMPARED_PART)]
    canonical = itertools.chain.from_iterable(
        run("Comparing doubles", _canonical_part, [(folder, shards, piece) for piece in pieces])
    )
    alike = defaultdict(list)
    for number, turned in zip(candidates.tolist(), canonical, strict=True):
        alike[turned].append(number)
    for numbers in alike.values():
        if len(numbers) < 2:
            continue
        across = len({int(keys.splits[number]) for number in numbers}) > 1
        for number in numbers[1:]:
            path = keys.path(number)
            message = (
                f"{path}: has the pixels of {keys.path(numbers[0])}, as they are, turned or mirrored; remove one"
                + (", for a test tile must be no train tile" if across else "")
            )
            yield Finding("duplicate-pixels", "error" if across else "warning", path, message)


def _canonical_part(folder: str, shards: Sequence[Shard], numbers: Sequence[int]) -> list[bytes]:
    """Return for each tile the same checksum as for every other that is it, turned or mirrored."""
    with contextlib.ExitStack() as stack:
        pixels_of = _cached_reader(folder, shards, stack)
        return [hashlib.sha256(turned_alike(pixels_of(int(number)))).digest() for number in numbers]


def _rows(overlaps: Iterable[Overlap], keys: _Keys) -> list[dict[str, Any]]:
    return [{**one._asdict(), "a": keys.path(one.a), "b": keys.path(one.b)} for one in overlaps]


def _groups(overlaps: Sequence[Overlap], keys: _Keys) -> dict[str, int]:
    """Number the connected components of tiles under overlap, in the order of their first tiles."""
    from scipy.sparse import coo_array  # here, because no worker needs them and each would take the time
    from scipy.sparse.csgraph import connected_components

    if not keys.total:
        return {}
    pairs = np.array([(one.a, one.b) for one in overlaps], np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs), bool), pairs.T), shape=(keys.total, keys.total))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    order = np.argsort(np.argsort(first))
    return {keys.path(number): int(order[label]) for number, label in enumerate(labels)}


def _coverage(parts: Iterable[tuple[str, npt.NDArray[np.int32]]]) -> dict[str, Coverage]:
    """Sum up the masks that show a rock glacier, by their split and their numbers of rock glacier pixels."""
    shares: dict[str, list[np.ndarray]] = defaultdict(list)
    for split, covered in parts:
        shares[split].append(covered[covered > 0] / TILE_SIZE**2)
    joined = {split: np.concatenate(found) for split, found in shares.items()}
    return {
        split: Coverage(len(share), float(share.mean()), float(share.min()), float(share.max()))
        for split, share in joined.items()
        if len(share)
    }
