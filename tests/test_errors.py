import pytest

from headstart.errors import name_some


@pytest.mark.parametrize(
    ("texts", "most", "separator", "words"),
    [
        ([], 3, ", ", ""),
        (["a"], 3, ", ", "a"),
        (["a", "b", "c"], 3, ", ", "a, b, c"),
        (["a", "b", "c"], 2, "; ", "a; b and 1 more"),
        (["a"] * 1201, 1, ", ", "a and 1,200 more"),
    ],
)
def test_the_first_few_of_many(texts: list[str], most: int, separator: str, words: str) -> None:
    assert name_some(texts, most, separator) == words
