"""What the fuzzers share: cases by seed for some time, bounds of time and memory, and what came of them."""

from __future__ import annotations

import argparse
import collections
import itertools
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable

MEMORY = 4 * 2**30  # bytes of address space
SECONDS = 10  # of a case

TryCase = Callable[[random.Random], str]
"""Tries a case and returns how it ended. AssertionError, or any other exception: a rule is broken."""


def fuzz(description: str, try_case: TryCase, *, seconds_of_case: int = SECONDS, memory: int | None = MEMORY) -> int:
    """Try cases for some time, as the command line says; print how they ended, and return 1 where a rule was broken.

    Args:
        description: for `--help`.
        try_case: tries one case.
        seconds_of_case: a case that takes longer ends the fuzzer.
        memory: limit of this process.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case (default: %(default)s)")
    options = parser.parse_args()
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    ends: collections.Counter[str] = collections.Counter()
    deadline = time.monotonic() + options.seconds
    for seed in itertools.count(options.seed):
        if time.monotonic() > deadline:
            break
        signal.alarm(seconds_of_case)
        try:
            ends[try_case(random.Random(seed))] += 1
        except Exception:
            print(f"seed {seed} breaks a rule", file=sys.stderr)
            traceback.print_exc()
            ends["BROKEN"] += 1
        signal.alarm(0)
    for end, number in ends.most_common():
        print(f"{number:8} {end}")
    return int(ends["BROKEN"] > 0)


def change_bytes(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat, insert or overwrite some bytes of a file that is not empty."""
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        start = chance.randrange(len(changed) or 1)
        part = changed[start : start + chance.choice([1, 4, 46, 512])]
        match chance.randrange(6):
            case 0 | 1 if changed:
                changed[start] ^= 1 << chance.randrange(8)
            case 2 if changed:
                changed[start] = chance.choice([0, 255, chance.randrange(256)])
            case 3:
                del changed[start : start + len(part)]
            case 4:
                changed[start:start] = part
            case _ if chance.random() < 0.2:
                del changed[start:]
    return bytes(changed)
