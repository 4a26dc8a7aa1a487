"""What a process keeps: made once, made anew from other sources, never more than the size."""

from flwr_byzantine.experiments.tasks.cache import Cache


def test_a_value_is_made_once_for_the_same_objects():
    cache, made, source = Cache(size=3), [], [1, 2]
    for _ in range(3):
        assert cache.get("key", [source], lambda: made.append(0) or "value") == "value"
    assert len(made) == 1


def test_equal_but_other_objects_or_another_number_of_them_make_it_anew():
    cache, source = Cache(size=3), [1, 2]
    assert cache.get("key", [source], lambda: 1) == 1
    assert cache.get("key", [list(source)], lambda: 2) == 2
    assert cache.get("key", [source, source], lambda: 3) == 3
    assert cache.get("key", [], lambda: 4) == 4
    assert cache.get("key", [source], lambda: 5) == 5


def test_the_key_that_was_used_longest_ago_goes_first():
    cache, source = Cache(size=2), object()
    for key in ("a", "b", "a", "c"):  # "b" goes
        cache.get(key, [source], lambda key=key: f"first {key}")
    assert cache.get("a", [source], lambda: "again") == "first a"
    assert cache.get("b", [source], lambda: "again") == "again"
    assert cache.get("c", [source], lambda: "again") == "again"  # which "b" displaced
