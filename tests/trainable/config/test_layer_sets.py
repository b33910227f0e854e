"""Layer sets as strings, and the teacher layers that are mirrored."""

import pytest

from tests.conftest import user_error
from trainable.config.layer_sets import (
    check_depths,
    half_depth,
    mirrored_layer,
    parse_layers,
    resolve_layer_set,
)
from trainable.config.names import NAMED_LAYER_SETS


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_named_sets(depth):
    numbers, half = [*range(1, depth + 1)], depth // 2
    sets = {"none": [], "all": numbers, "lower": numbers[:half], "upper": numbers[depth - half :]}
    sets |= {"even": numbers[1::2], "odd": numbers[::2]}
    assert set(sets) == set(NAMED_LAYER_SETS)
    for name, layers in sets.items():
        if layers or name == "none":
            written = ",".join(map(str, layers)) or "none"
            assert resolve_layer_set(name, depth) == resolve_layer_set(written, depth) == written
            assert parse_layers(written) == tuple(layers)
        else:
            said = f"aligned_layers: '{name}' has no layer in a student of depth 1; give layer num"
            assert user_error(resolve_layer_set, name, depth).startswith(said)


@pytest.mark.parametrize(("layers", "half"), [(24, 12), (22, 11), (12, 6), (9, 3), (5, 1), (1, 1)])
def test_half_the_depth_divides_the_teachers(layers, half):
    check_depths(half, layers)
    assert half_depth(layers) == half


def test_written_sets_have_one_spelling():
    for written, layers in (("3,1,2", "1,2,3"), ("2,2", "2"), (" 1, 6 ", "1,6"), ("06", "6")):
        assert resolve_layer_set(written, 6) == layers


def test_what_is_no_set_of_a_students_layers():
    for written in ("", ",", "1,,2", "-1", "1.5", "1;2", "uper", "1-3"):
        hint = "did you mean upper? " if written == "uper" else ""
        said = user_error(resolve_layer_set, written, 6)
        assert said.startswith(f"aligned_layers: {written!r} is not known; {hint}choose from none")
        assert said.endswith("numbers like 1,2,3")
    for layer in (0, 7):
        said = f"aligned_layers: layer {layer} is outside the student, whose layers are 1 to 6"
        assert user_error(resolve_layer_set, f"1,{layer}", 6) == said


def test_mirrored_layers():
    for student, teacher, layers in (
        *((6, 12, [2, 4, 6, 8, 10, 12]), (4, 12, [3, 6, 9, 12]), (3, 6, [2, 4, 6])),
        *((6, 6, [1, 2, 3, 4, 5, 6]), (1, 12, [12])),
    ):
        assert [mirrored_layer(n, student, teacher) for n in range(1, student + 1)] == layers


def test_depths_that_do_not_divide_the_teacher():
    for valid in (1, 2, 3, 4, 6, 12):
        check_depths(valid, 12)
    for depth in (-1, 0, 5, 24):
        said = user_error(check_depths, depth, 12)
        assert said.startswith(f"student_layers: {depth} does not divide the teacher's 12 layers")
        assert said.endswith("valid: 1, 2, 3, 4, 6, 12")
