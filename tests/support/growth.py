"""Growth within this process: containers, and numbers of objects, over rounds of the same work.

Nothing has to be named: every container that the garbage collector knows or can reach is measured, with module tables,
closures and unbounded caches, and the number of instances of every type. A bounded cache is emptied first, because what
it may hold is no leak. Of the objects that were frozen before (gc.freeze), only the tables of modules are measured: the
rest of what a long test run has loaded would take seconds.
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
    """The sizes of containers by identity, and the numbers of instances by type, at one moment."""

    __slots__ = ("sizes", "types")

    def __init__(self) -> None:
        in_modules = [one for module in [*sys.modules.values()] for one in [*getattr(module, "__dict__", {}).values()]]
        functions = [one for one in in_modules if isinstance(one, FunctionType)]
        in_closures = [cell.cell_contents for one in functions for cell in one.__closure__ or ()]
        for one in gc.get_objects() + in_modules + in_closures:  # frozen objects are found through their module only
            if isinstance(one, _CACHE) and one.cache_parameters()["maxsize"] is not None:
                one.cache_clear()
        gc.collect()
        objects = gc.get_objects()
        self.types: Counter[type] = Counter(map(type, objects))
        del self.types[tuple]  # the collector forgets them after a while, so that their number means nothing
        objects += gc.get_referents(*objects)  # a dict of strings only is not tracked, but referred to
        objects += in_modules
        self.sizes: dict[int, int] = {id(one): len(one) for one in objects if type(one) in _CONTAINERS}
        for ours in (objects, in_modules):
            self.sizes.pop(id(ours), None)


def grown(snapshots: Sequence[Snapshot], least: int) -> list[str]:
    """Describe what has grown by `least` or more from each snapshot to the next: a leak grows in every round.

    A pool that fills up, or an object that waits for a canceled timer, grows only once.
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
    """Describe containers by the type of their owner; for people, so that an approximation is enough."""
    found = {}
    for one in gc.get_objects():
        for each in gc.get_referents(one):
            if type(each) in _CONTAINERS and id(each) in large:
                example = repr(next(iter(each), None))[:80]
                found[id(each)] = f"{large[id(each)]} in a {_name(each)} of a {_name(one)}, such as {example}"
    return list(found.values())


def _name(one: Any) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}"
