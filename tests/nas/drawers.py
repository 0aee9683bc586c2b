"""A drawer of the space `tiny`, made once for all tests."""

from functools import cache

from nas import registry
from nas.cost import Counter
from nas.draws import Drawer
from nas.space import load_space

SIZE = (32, 64)


@cache
def tiny():
    registry.load()
    return Drawer(load_space("tiny"), Counter(SIZE))
