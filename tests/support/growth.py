"""What grows within this process: containers and numbers of objects, each time that something is done many times.

Nothing has to be named: every container that the garbage collector knows or can reach from what it knows is looked
at, module tables, closures and caches without bounds included, and every type's number of instances. A cache that has
a bound is emptied first: what it may hold is not what leaks. Of what was frozen (gc.freeze) before, only the tables of
modules are looked at: whatever else a long test run has loaded would take seconds.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from functools import lru_cache
from itertools import pairwise
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONTAINERS = {dict, list, set, deque, OrderedDict, Counter, defaultdict, bytearray}
_CACHE = type(lru_cache(lambda: None))


class Snapshot:
    """Containers by their identity, and instances by their type, as they are now."""

    __slots__ = ("sizes", "types")

    def __init__(self) -> None:
        in_modules = [one for module in [*sys.modules.values()] for one in [*getattr(module, "__dict__", {}).values()]]
        functions = [one for one in in_modules if isinstance(one, FunctionType)]
        in_closures = [cell.cell_contents for one in functions for cell in one.__closure__ or ()]
        for one in gc.get_objects() + in_modules + in_closures:  # what was frozen is in its module only
            if isinstance(one, _CACHE) and one.cache_parameters()["maxsize"] is not None:
                one.cache_clear()
        gc.collect()
        objects = gc.get_objects()
        self.types: Counter[type] = Counter(map(type, objects))
        del self.types[tuple]  # known to the collector for a while only: their number says nothing
        objects += gc.get_referents(*objects)  # a dict of texts alone is not tracked, but referred to
        objects += in_modules
        self.sizes: dict[int, int] = {id(one): len(one) for one in objects if type(one) in _CONTAINERS}
        for ours in (objects, in_modules):
            self.sizes.pop(id(ours), None)


def grown(snapshots: Sequence[Snapshot], least: int) -> list[str]:
    """Tell what has grown by `least` or more from each snapshot to the next: what leaks does so every time.

    What fills a pool, or waits for a timer that was canceled, grows once and not again.
    """
    pairs = list(pairwise(snapshots))
    last = snapshots[-1]
    ours = {id(one) for snapshot in snapshots for one in (snapshot.sizes, snapshot.types)}
    large = {
        key: size
        for key, size in last.sizes.items()
        if key not in ours
        and all(after.sizes.get(key, 0) - before.sizes.get(key, 0) >= least for before, after in pairs)
    }
    found = [
        f"{number} of {kind.__module__}.{kind.__qualname__}"
        for kind, number in last.types.items()
        if all(after.types[kind] - before.types[kind] >= least for before, after in pairs)
    ]
    return sorted(found + _describe(large))


def _describe(large: dict[int, int]) -> list[str]:
    """Say of containers whose they are; for people, so it is enough where it is right most of the time."""
    found = {}
    for one in gc.get_objects():
        for each in gc.get_referents(one):
            if type(each) in _CONTAINERS and id(each) in large:
                example = repr(next(iter(each), None))[:80]
                found[id(each)] = f"{large[id(each)]} in a {_name(each)} of a {_name(one)}, such as {example}"
    return list(found.values())


def _name(one: Any) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}"
