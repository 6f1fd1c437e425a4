"""The compiled loops of ``rfgraph.sweeps.tape``, which alone imports this module: it needs numba.

Twin of ``rfgraph.sweeps.vectorised``, held against it by
``tests/sweeps/test_sweep.py::test_compiled_code_finds_the_same_to_the_bit``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

#: Designs that are taken from the first node to the last together: their fields stay in the first cache.
TOGETHER = 256


@numba.njit(cache=True, nogil=True)
def run(
    steps: Any,
    reads: Any,
    varies: Any,
    numbers: Any,
    slots: int,
    source: int,
    wanted: Any,
    mode: int,
    variants: Any,
    fields: Any,
    drifts: Any,
    misaligned: Any,
) -> None:
    """Fill in ``fields``, ``drifts`` and ``misaligned`` from a tape; see ``rfgraph.sweeps.tape``."""
    count = misaligned.shape[0]
    first = np.zeros((slots, TOGETHER), dtype=np.int64)
    last = np.zeros((slots, TOGETHER), dtype=np.int64)
    pace = np.ones((slots, TOGETHER), dtype=np.int64)
    drift = np.zeros((slots, TOGETHER), dtype=np.uint8)
    most = 1
    for s in range(steps.shape[0]):
        most = max(most, steps[s, 1])
    low = np.zeros((most, TOGETHER), dtype=np.int64)
    high = np.zeros((most, TOGETHER), dtype=np.int64)
    fast = np.zeros((most, TOGETHER), dtype=np.int64)
    unequal = np.zeros(TOGETHER, dtype=np.uint8)
    differ = np.zeros(TOGETHER, dtype=np.uint8)
    for start in range(0, count, TOGETHER):
        n = min(TOGETHER, count - start)
        first[source, :n] = 0
        last[source, :n] = 0
        pace[source, :n] = 1
        drift[source, :n] = 0
        for s in range(steps.shape[0]):
            begin, several, slot, selector, meets = steps[s, 0], steps[s, 1], steps[s, 2], steps[s, 3], steps[s, 4]
            if several == 1:
                tail = reads[begin, 0]
                index = variants[max(selector, 0), start : start + n]
                _branch(
                    *(first[tail], last[tail], pace[tail], reads[begin], varies[begin], numbers, index),
                    *(first[slot], last[slot], pace[slot]),
                )
                drift[slot, :n] = drift[tail, :n]
                continue
            for k in range(several):
                tail = reads[begin + k, 0]
                index = variants[max(selector, 0), start : start + n]
                _branch(
                    *(first[tail], last[tail], pace[tail], reads[begin + k], varies[begin + k], numbers, index),
                    *(low[k], high[k], fast[k]),
                )
            _merge(low, high, fast, several, n, mode == 2, first[slot], last[slot], pace[slot], unequal, differ)
            drift[slot, :n] = unequal[:n]
            for k in range(several):
                drift[slot, :n] |= drift[reads[begin + k, 0], :n]
            if meets:
                _note(low, high, several, n, mode, meets == 2, unequal, differ, misaligned[start : start + n])
        for k in range(wanted.shape[0]):
            slot = wanted[k]
            if slot >= 0:
                for j in range(n):
                    fields[k, 0, start + j] = first[slot, j]
                    fields[k, 1, start + j] = last[slot, j]
                    fields[k, 2, start + j] = pace[slot, j]
                    drifts[k, start + j] = drift[slot, j] != 0


@numba.njit(cache=True, nogil=True)
def _branch(
    first: Any, last: Any, pace: Any, read: Any, varies: Any, numbers: Any, index: Any, low: Any, high: Any, fast: Any
) -> None:
    """Write what is read of the source through one slot: field through window, in the designs of ``index``."""
    a, b, c = read[1], read[2], read[3]
    n = index.shape[0]
    if not (varies[0] or varies[1] or varies[2]):
        one, two, step = numbers[a], numbers[b], numbers[c]
        for j in range(n):
            inner = pace[j]
            low[j] = first[j] + one * inner
            high[j] = last[j] + two * inner
            fast[j] = step * inner
        return
    if not varies[2] and numbers[c] == 1:  # most kernels that are searched have stride 1
        lows, highs = numbers[a:], numbers[b:]
        by_a, by_b = np.uint32(varies[0]), np.uint32(varies[1])
        for j in range(n):
            inner, v = pace[j], index[j]
            low[j] = first[j] + lows[v * by_a] * inner
            high[j] = last[j] + highs[v * by_b] * inner
            fast[j] = inner
        return
    lows, highs, steps = numbers[a:], numbers[b:], numbers[c:]
    by_a, by_b, by_c = np.uint32(varies[0]), np.uint32(varies[1]), np.uint32(varies[2])
    for j in range(n):
        inner, v = pace[j], index[j]
        low[j] = first[j] + lows[v * by_a] * inner
        high[j] = last[j] + highs[v * by_b] * inner
        fast[j] = steps[v * by_c] * inner


@numba.njit(cache=True, nogil=True)
def _merge(
    low: Any,
    high: Any,
    fast: Any,
    several: int,
    n: int,
    causal: bool,
    first: Any,
    last: Any,
    pace: Any,
    unequal: Any,
    differ: Any,
) -> None:
    """Write the hull of all branches, and where their strides and where their centres (or ends) differ."""
    for j in range(n):
        first[j] = low[0, j]
        last[j] = high[0, j]
        pace[j] = fast[0, j]
        unequal[j] = 0
        differ[j] = 0
    weight = 0 if causal else 1
    for k in range(1, several):
        for j in range(n):
            unequal[j] |= np.uint8(fast[k, j] != fast[0, j])
            apart = high[k, j] - high[0, j] + weight * (low[k, j] - low[0, j])
            differ[j] |= np.uint8(apart != 0)
            first[j] = min(first[j], low[k, j])
            last[j] = max(last[j], high[k, j])


@numba.njit(cache=True, nogil=True)
def _note(
    low: Any, high: Any, several: int, n: int, mode: int, stacks: bool, unequal: Any, differ: Any, misaligned: Any
) -> None:
    """Note in which designs the branches of a merge do not line up, or only their fork tells."""
    for j in range(n):
        if unequal[j]:
            misaligned[j] |= np.uint8(1)
        elif differ[j]:
            misaligned[j] |= _judged(low, high, j, several, mode, stacks)


@numba.njit(cache=True, nogil=True)
def _judged(low: Any, high: Any, j: int, several: int, mode: int, stacks: bool) -> Any:
    """Return 1 if a branch lies off the widest one wherever they part, and 2 if their fork has to tell.

    It is a twin of ``rfgraph.algebra.alignment.compare``: their fork tells of branches that end at one index whether
    they are causal, and of stacked ones that are as wide whether they are frames.
    """
    widest = 0
    for k in range(1, several):
        width, most = high[k, j] - low[k, j], high[widest, j] - low[widest, j]
        if width > most or (width == most and low[k, j] < low[widest, j]):
            widest = k
    verdict = np.uint8(0)
    for k in range(several):
        apart = high[k, j] - high[widest, j]
        if mode != 2:
            apart += low[k, j] - low[widest, j]
        if apart != 0:
            same_end = mode == 0 and high[k, j] == high[widest, j]
            same_width = stacks and high[k, j] - low[k, j] == high[widest, j] - low[widest, j]
            verdict |= np.uint8(2) if same_end or same_width else np.uint8(1)
    return verdict


@numba.njit(cache=True, nogil=True)
def _mixed(value: Any) -> Any:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def permuted(numbers: Any, total: Any, half: Any, keys: Any) -> Any:
    """Do what ``rfgraph.sweeps.designs`` does in numpy: take each number where a random permutation takes it."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    order = np.empty_like(numbers)
    for i in range(numbers.shape[0]):
        inside = numbers[i]
        while True:
            high, low = inside >> half, inside & mask
            for k in range(keys.shape[0]):
                high, low = low, high ^ (_mixed(low ^ keys[k]) & mask)
            inside = (high << half) | low
            if inside < total:
                break
        order[i] = inside
    return order
