"""Grounds cut into blocks: no two splits share ground, few tiles are left out, every split has both classes."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies

from rock_glacier.curation.assignment import assign_splits, count_tiles, target_counts
from rock_glacier.curation.blocks import MARGIN, MOST_LEFT_OUT, TOLERANCE, Assigned, assign_blocks
from rock_glacier_dataset import RELEASE_SIZES, TILE_SIZE

RATIOS = list(RELEASE_SIZES.values())

Tiles = tuple[list[int], list[int], list[int], list[int]]
"""Grounds, places x and y, and labels of tiles."""

some_tiles = strategies.lists(
    strategies.tuples(
        strategies.integers(0, 3), strategies.integers(0, 900), strategies.integers(0, 400), strategies.integers(0, 1)
    ),
    min_size=3,
    max_size=60,
).filter(lambda tiles: {tile[0] for tile in tiles} in ({0, 1, 2}, {0, 1, 2, 3}))


def zone(ground: int, tiles: int, seed: int, width: int = 4000) -> Tiles:
    """Return tiles at random places of a zone, both classes mixed."""
    rng = np.random.default_rng([seed, ground])
    x, y = rng.integers(0, width - TILE_SIZE + 1, (2, tiles)).tolist()
    return [ground] * tiles, x, y, rng.integers(0, 2, tiles).tolist()


def grid(ground: int, label: int, tiles: int, columns: list[int], rows: list[int]) -> Tiles:
    """Return tiles on the crossings of a grid, as evenly many on each as can be."""
    places = list(itertools.islice(itertools.cycle(itertools.product(columns, rows)), tiles))
    return [ground] * tiles, [x for x, _ in places], [y for _, y in places], [label] * tiles


def joined(*parts: Tiles) -> Tiles:
    grounds, x, y, labels = ([*itertools.chain(*column)] for column in zip(*parts, strict=True))
    return grounds, x, y, labels


def early_tiles() -> Tiles:
    """Return the twin of the early tiles: three places of one class each, cut with a stride of 64 pixels."""
    return joined(
        grid(0, 0, 162, [0, 64, 128, 192, 256, 320, 381], [0, 64, 128, 192, 256, 320, 384, 448, 513]),
        grid(1, 1, 46, [0, 14, 78, 118], [2, 45]),
        grid(2, 1, 92, [0, 64, 128, 192, 256, 287], [0, 98]),
    )


def kept_tiles(assigned: Assigned, labels: list[int]) -> npt.NDArray[np.int64]:
    """Count the tiles of each split and class, without those left out."""
    kept = np.flatnonzero(assigned.splits >= 0)
    return count_tiles(assigned.splits[kept].tolist(), [labels[tile] for tile in kept])


def departures(tiles: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the departures from the targets, as shares of them."""
    labels = np.repeat([0, 1], tiles.sum(0)).tolist()
    target = target_counts(labels, RATIOS)
    return abs(tiles - target) / target


def check(tiles: Tiles, assigned: Assigned, margin: int = MARGIN) -> None:
    """Check that tiles of two splits, or of two blocks of a ground, keep their distance, and that none is lost."""
    grounds, place = np.array(tiles[0]), np.column_stack(tiles[1:3]).astype(np.int16)
    splits, blocks, _ = assigned
    assert len(splits) == len(blocks) == len(grounds)
    assert set(splits.tolist()) <= {-1, 0, 1, 2}
    assert ((splits < 0) == (blocks < 0)).all()
    for ground in np.unique(grounds):
        tile = np.flatnonzero((grounds == ground) & (splits >= 0))
        assert set(blocks[tile].tolist()) == set(range(blocks[tile].max(initial=-1) + 1))
        near = (abs(place[tile, None] - place[tile]) < TILE_SIZE + 2 * margin).all(-1)
        one_split, one_block = (numbers[tile, None] == numbers[tile] for numbers in (splits, blocks))
        assert one_split[near | one_block].all()
        assert one_block[(abs(place[tile, None] - place[tile]) < TILE_SIZE).all(-1)].all()


@given(some_tiles, strategies.integers(0, 3), strategies.sampled_from([0, 3, 10]))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_no_two_splits_share_ground_and_no_tile_is_lost(
    tiles: list[tuple[int, int, int, int]], seed: int, margin: int
) -> None:
    grounds, x, y, labels = ([*column] for column in zip(*tiles, strict=True))
    assigned = assign_blocks(grounds, x, y, labels, RATIOS, seed, margin)
    check((grounds, x, y, labels), assigned, margin)
    again = assign_blocks(grounds, x, y, labels, RATIOS, seed, margin)
    assert (again.splits.tolist(), again.blocks.tolist(), again.notes) == (
        assigned.splits.tolist(),
        assigned.blocks.tolist(),
        assigned.notes,
    )


def test_early_tiles_have_both_classes_in_all_splits() -> None:
    tiles = early_tiles()
    assigned = assign_blocks(*tiles, RATIOS)
    check(tiles, assigned)
    assert (kept_tiles(assigned, tiles[3]) > 0).all()
    assert (assigned.splits < 0).mean() <= 0.35
    assert (departures(kept_tiles(assigned, tiles[3]))[:, 0] <= TOLERANCE).all()
    assert assigned.notes[:2] == ["cordillera: has 1 ground for 3 splits", "glaciar: has 2 grounds for 3 splits"]
    assert "ground 1: no line cuts its 46 tiles apart; it stays whole" in assigned.notes
    assert any(note.startswith("ground 2: is cut into 2 blocks") for note in assigned.notes)
    assert any(note.startswith("glaciar: validation has ") for note in assigned.notes)


def test_exact_places_need_no_margin() -> None:
    tiles = early_tiles()
    assigned = assign_blocks(*tiles, RATIOS, margin=[0 if ground == 0 else MARGIN for ground in tiles[0]])
    check(tiles, assigned, margin=0)
    left_out = np.bincount(tiles[0], assigned.splits < 0)
    assert left_out[0] <= 0.2 * 162
    assert left_out[2] > 0


def test_five_zones_of_mixed_classes_lose_few_tiles() -> None:
    tiles = joined(*(zone(ground, 2000, seed=0) for ground in range(5)))
    assigned = assign_blocks(*tiles, RATIOS)
    check(tiles, assigned)
    assert (departures(kept_tiles(assigned, tiles[3])) <= TOLERANCE).all()
    assert (assigned.splits < 0).mean() <= 0.015
    assert all("is cut into" in note for note in assigned.notes)


def test_zones_of_one_class_each_are_cut() -> None:
    tiles = joined(*(zone(ground, 800, seed=1) for ground in range(5)))
    tiles[3][:] = [int(ground > 2) for ground in tiles[0]]
    assigned = assign_blocks(*tiles, RATIOS)
    check(tiles, assigned)
    assert (departures(kept_tiles(assigned, tiles[3])) <= TOLERANCE).all()
    assert (assigned.splits < 0).mean() <= 0.03
    assert assigned.notes[0] == "glaciar: has 2 grounds for 3 splits"


@pytest.mark.parametrize("layout", ["mixed", "side by side", "in opposite corners"])
def test_one_ground_gives_every_split_both_classes(layout: str) -> None:
    grounds, x, y, labels = zone(0, 1500, seed=2)
    if layout == "side by side":
        labels = [int(one > 2000) for one in x]
    elif layout == "in opposite corners":
        x, y = [[one + 4000 * label for one, label in zip(line, labels, strict=True)] for line in (x, y)]
    assigned = assign_blocks(grounds, x, y, labels, RATIOS)
    check((grounds, x, y, labels), assigned)
    assert (departures(kept_tiles(assigned, labels)) <= TOLERANCE).all()
    assert (assigned.splits < 0).mean() <= 0.1


def test_a_rare_class_reaches_every_split() -> None:
    grounds, x, y, _ = zone(0, 1000, seed=3)
    for place in (100, 300, 500):
        x.append(place)
        y.append(place)
    assigned = assign_blocks([*grounds, 0, 0, 0], x, y, [0] * 1000 + [1] * 3, RATIOS)
    assert sorted(assigned.splits[-3:].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("ratios", [[10, 1, 1], [30, 1, 1]])
def test_lines_between_parts_of_one_split_leave_nothing_out(ratios: list[float]) -> None:
    places = range(0, 1600, 40)
    tiles = grid(0, 0, len(places) ** 2, [*places], [*places])
    assigned = assign_blocks(*tiles, ratios)
    check(tiles, assigned)
    assert assigned.blocks.max() == 2
    place = np.column_stack(tiles[1:3])
    for tile in np.flatnonzero(assigned.splits < 0):
        around = (abs(place - place[tile]) < TILE_SIZE + 2 * MARGIN + 80).all(1)
        assert len(set(assigned.splits[around].tolist()) - {-1}) > 1


def test_whole_grounds_are_kept_where_they_meet_the_targets() -> None:
    tiles = joined(*(zone(ground, 30, seed=4, width=600) for ground in range(60)))
    assigned = assign_blocks(*tiles, RATIOS, seed=5)
    assert assigned.splits.tolist() == assign_splits(tiles[0], tiles[3], RATIOS, seed=5)
    assert not assigned.blocks.any()
    assert assigned.notes == []


def test_a_large_ground_is_cut_beside_many_single_tiles() -> None:
    large, singles = 1600, 800
    tiles = joined(zone(0, large, seed=6), ([*range(1, singles + 1)], [0] * singles, [0] * singles, [0, 1] * 400))
    tiles[3][:large] = [0] * large
    assigned = assign_blocks(*tiles, RATIOS)
    check(tiles, assigned)
    assert (departures(kept_tiles(assigned, tiles[3])) <= TOLERANCE).all()
    assert (assigned.splits < 0).mean() <= 0.05
    assert (assigned.splits[large:] >= 0).all()


@pytest.mark.parametrize("seed", range(12))
def test_no_split_lacks_a_class_that_it_can_have(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spots = int(rng.integers(3, 8))
    sizes = rng.integers(0, 3, (spots, 2)) * rng.integers(1, 20, (spots, 2))
    sizes[sizes.sum(1) == 0] = 1
    tiles = joined(*(grid(0, k, int(n), [140 * at], [0]) for at, size in enumerate(sizes) for k, n in enumerate(size)))
    ways = itertools.product(range(3), repeat=spots)
    can_have = max(
        np.sum([sizes[np.equal(way, split)].any(0).sum() for split in range(3)]) for way in ways if len(set(way)) == 3
    )
    assert (kept_tiles(assign_blocks(*tiles, RATIOS), tiles[3]) > 0).sum() == can_have


def test_a_spot_between_others_is_parted_from_both() -> None:
    sizes = [(13, 0), (1, 0), (1, 0), (1, 0), (0, 5), (14, 36), (6, 14)]
    tiles = joined(*(grid(0, k, n, [140 * at], [0]) for at, size in enumerate(sizes) for k, n in enumerate(size)))
    assert (kept_tiles(assign_blocks(*tiles, RATIOS), tiles[3]) > 0).all()


def test_no_split_is_empty_where_two_could_have_both_classes() -> None:
    tiles = joined(*(grid(0, k, n, [140 * at], [0]) for at, k, n in [(0, 0, 13), (1, 1, 9), (2, 0, 6), (2, 1, 3)]))
    assert (kept_tiles(assign_blocks(*tiles, RATIOS), tiles[3]).sum(1) > 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_no_two_lines_through_a_strip_leave_out_fewer(seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 1200, 20)
    least = len(x)
    for first, second in itertools.combinations(np.sort(x + TILE_SIZE), 2):
        parts = [(x + TILE_SIZE <= first).sum(), ((x >= first) & (x + TILE_SIZE <= second)).sum(), (x >= second).sum()]
        for split in itertools.permutations(parts):
            target = np.array(RATIOS) / sum(RATIOS) * sum(split)
            if min(split) and (abs(split - target) <= np.maximum(TOLERANCE * target, 1)).all():
                least = min(least, len(x) - sum(split))
    assigned = assign_blocks([0] * 20, x, [0] * 20, [0] * 20, RATIOS, margin=0)
    assert (assigned.splits < 0).sum() <= least < len(x)


def test_at_most_the_limit_is_left_out_whatever_target_is_missed() -> None:
    sizes = {0: 21, 100: 36, 200: 21, 400: 11, 600: 11}  # only without the 36 would the splits be equal
    tiles = joined(*(grid(0, 0, number, [x], [0]) for x, number in sizes.items()))
    assigned = assign_blocks(*tiles, [1, 1, 1], margin=0)
    assert (assigned.splits < 0).mean() <= MOST_LEFT_OUT
    assert assigned.notes[-1].startswith("cordillera: test has ")


def test_many_tiles_are_cut_for_uneven_ratios() -> None:
    tiles = joined(*(grid(0, label, 10_000, [*range(0, 1000, 200)], [0]) for label in (0, 1)))
    assert (kept_tiles(assign_blocks(*tiles, [99, 0.5, 0.5]), tiles[3]) > 0).all()


def spots() -> Tiles:
    """Return five tiles at each of six spots in a row, three of each class."""
    return joined(*(grid(0, at // 3, 5, [200 * at], [0]) for at in range(6)))


def test_no_two_blocks_share_a_pair_that_contradicts_the_places() -> None:
    tiles = spots()
    before = assign_blocks(*tiles, RATIOS)
    linked = [
        (a, b)
        for a, b in itertools.combinations(range(30), 2)
        if before.blocks[a] != before.blocks[b] and before.splits[a] == before.splits[b]
    ]
    assert linked
    after = assign_blocks(*tiles, RATIOS, linked=linked)
    assert all(-1 in after.blocks[[a, b]] for a, b in linked)
    lacking = (kept_tiles(after, tiles[3]) == 0).sum()
    assert sum(note.endswith(" has none") for note in after.notes) == lacking > 0


def test_tile_of_most_links_that_contradict_the_places_is_left_out_alone() -> None:
    tiles = spots()
    before = assign_blocks(*tiles, RATIOS)
    (most,) = np.flatnonzero(before.splits == 2)[:1].tolist()
    linked = [(min(most, tile), max(most, tile)) for tile in np.flatnonzero(before.splits == 0).tolist()]
    after = assign_blocks(*tiles, RATIOS, linked=linked)
    assert np.flatnonzero(after.splits != before.splits).tolist() == [most]
    assert after.splits[most] == after.blocks[most] == -1
    assert "1 tile left out because of a match in another block" in after.notes


def test_split_that_links_against_the_places_empty_is_named() -> None:
    with pytest.raises(ValueError, match=r"leaves tiles for .*(validation|test).*; add tiles of other ground"):
        assign_blocks(*spots(), RATIOS, linked=list(itertools.combinations(range(30), 2)))


def test_class_that_links_against_the_places_empty_is_named() -> None:
    tiles = joined(grid(0, 0, 30, [*range(0, 1200, 200)], [0]), grid(0, 1, 1, [1200], [0]))
    with pytest.raises(ValueError, match="leaves tiles for glaciar; add tiles of other ground"):
        assign_blocks(*tiles, RATIOS, linked=[(tile, 30) for tile in range(30)])


def test_copies_of_one_tile_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="no cut of 1 ground leaves tiles for validation and test; add tiles"):
        assign_blocks([0] * 1000, [0] * 1000, [0] * 1000, [0] * 1000, RATIOS)


def test_two_tiles_are_too_few() -> None:
    with pytest.raises(ValueError, match="3 splits need as many tiles, and there are 2"):
        assign_blocks([0, 0], [0, 900], [0, 0], [0, 1], RATIOS)


def test_copies_of_one_tile_beside_two_others_stay_whole() -> None:
    assigned = assign_blocks([0] * 1000 + [1, 2], [0] * 1002, [0] * 1002, [0] * 1002, RATIOS)
    assert sorted(set(assigned.splits.tolist())) == [0, 1, 2]
    assert "ground 0: no line cuts its 1000 tiles apart; it stays whole" in assigned.notes
    assert any(note.startswith("cordillera: train has 1000 of 1002 tiles") for note in assigned.notes)
