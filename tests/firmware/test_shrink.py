"""What is made small must still be the same program."""

import pytest
from shrink import shrink


def test_constants_stand_where_they_are_used_also_in_other_modules() -> None:
    small = shrink(
        {
            "p.a": 'ONE = 1\nTWO = ONE + 1\nRED, BLUE = range(2)\nNAME = "x"\nprint(TWO, BLUE)\n',
            "p.b": "from .a import NAME, TWO, go\nfrom . import a\nprint(NAME, -TWO, a.BLUE)\n",
            "p.__init__": "",
        }
    )
    small["q"] = shrink({"q": "import r\nprint(r.SIZE)", "r": "SIZE = 4\n"})["q"]
    assert small["q"] == "import r\nprint(4)"
    assert small["p.a"].split("\n") == ["pass", "pass", "pass", "pass", "print(2, 1)", ""]
    assert small["p.b"].split("\n")[0] == "from .a import go"
    assert small["p.b"].split("\n")[2] == "print('x', -2, 1)"


def test_private_names_stay_the_same_name_everywhere() -> None:
    small = shrink({"a": "class _Big:\n    _seen = 1\n", "b": "import a\nprint(a._Big()._seen)\n"})
    space: dict[str, object] = {}
    exec(small["a"], space)
    (name,) = (n for n in space if not n.startswith("__"))
    assert len(name) == 2
    assert f"a.{name}()._" in small["b"]
    assert "_seen" not in small["b"]


def test_private_names_of_one_module_share_their_short_forms_with_other_modules() -> None:
    small = shrink({"a": "class A:\n    _first = 1\n", "b": "from struct import pack as _pack\n_second = _pack\n"})
    assert small["a"] == "class A:\n    _a = 1\n"
    assert small["b"] in ("from struct import pack as _a\n_b = _a\n", "from struct import pack as _b\n_a = _b\n")


def test_lines_do_not_move() -> None:
    text = "LIMIT = (\n    1\n    + 2\n)\n\n\ndef f(value):\n    raise ValueError(value)\n"
    small = shrink({"a": text})["a"]
    assert small.split("\n")[7] == text.split("\n")[7].replace("value", "a")


def test_what_others_use_by_name_keeps_it() -> None:
    text = "LIMIT = 3\n\n\ndef f(value, wide=0):\n    return value\n\n\nf(value=1)\n"
    small = shrink({"a": text}, keep=["LIMIT"])["a"]
    assert small == text


def test_a_board_has_no_f_strings() -> None:
    with pytest.raises(SystemExit, match="a:1"):
        shrink({"a": "print(f'{1}')\n"})


def test_what_an_heir_in_another_module_adds_keeps_away_from_what_it_inherits() -> None:
    """A short form that is free in the heir's module may be taken in its base's."""
    small = shrink(
        {
            "a": "class Base:\n    def __init__(self):\n        self.counted = 1\n        self._seen = 2\n",
            "b": "from a import Base\n\n\nclass Heir(Base):\n    def more(self):\n        self.waiting = 3\n",
        }
    )
    space: dict[str, object] = {}
    exec(small["a"], space)
    exec(small["b"].replace("from a import Base", ""), space)
    (heir,) = (one() for one in space.values() if isinstance(one, type) and one.__bases__ != (object,))
    (more,) = (name for name in dir(type(heir)) if not name.startswith("__"))
    getattr(heir, more)()
    assert sorted(vars(heir).values()) == [1, 2, 3]


SHARED = {
    "a": """
class Left:
    def __init__(self, size):
        self.first = size
        self.second = 2

    def total(self):
        return self.first + self.second
""",
    "b": """
class Right:
    def __init__(self, first):
        self.third = first
        self.fourth = 4
        self.outside = None
""",
    "c": """
from a import Left
from b import Right

left, right = Left(1), Right(3)
left.named = 5
right.outside = 6
result = [left.first, left.second, right.third, right.fourth, left.total(), left.named, right.outside]
""",
}


def test_attributes_of_unrelated_classes_share_short_forms_wherever_they_are_read() -> None:
    small = shrink(SHARED, keep=["result"])
    space: dict[str, object] = {}
    for name in "abc":
        exec(small[name].replace("from a import", "#").replace("from b import", "#"), space)
    assert space["result"] == [1, 2, 3, 4, 3, 5, 6]
    left, right = (vars(one) for one in space.values() if hasattr(one, "__dict__") and len(vars(one)) == 3)
    assert len(set(left) & set(right)) == 2, "two of each have the same name as two of the other"
