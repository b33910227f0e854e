"""Layer sets as strings, and the teacher layers that are mirrored."""

import pytest

from trainable.common.errors import UserError
from trainable.config.layer_sets import (
    check_depths,
    mirrored_layer,
    parse_layers,
    resolve_layer_set,
)


@pytest.mark.parametrize(
    ("name", "depth", "layers"),
    [
        ("none", 6, "none"),
        ("all", 6, "1,2,3,4,5,6"),
        ("lower", 6, "1,2,3"),
        ("upper", 6, "4,5,6"),
        ("even", 6, "2,4,6"),
        ("odd", 6, "1,3,5"),
        ("all", 3, "1,2,3"),
        ("lower", 3, "1"),
        ("upper", 3, "3"),
        ("even", 3, "2"),
        ("odd", 3, "1,3"),
        ("odd", 1, "1"),
    ],
)
def test_named_sets(name, depth, layers):
    assert resolve_layer_set(name, depth) == layers
    assert resolve_layer_set(layers, depth) == layers
    numbers = () if layers == "none" else tuple(int(number) for number in layers.split(","))
    assert parse_layers(layers) == numbers


@pytest.mark.parametrize(
    ("written", "layers"), [("3,1,2", "1,2,3"), ("2,2", "2"), (" 1, 6 ", "1,6"), ("06", "6")]
)
def test_written_sets_have_one_spelling(written, layers):
    assert resolve_layer_set(written, 6) == layers


@pytest.mark.parametrize("layer", [0, 7])
def test_a_layer_outside_the_student(layer):
    with pytest.raises(UserError, match=rf"^aligned_layers: layer {layer} .* 1 to 6$"):
        resolve_layer_set(f"1,{layer}", 6)


@pytest.mark.parametrize("written", ["", ",", "1,,2", "-1", "1.5", "1;2", "uper", "1-3"])
def test_what_is_no_set(written):
    hint = r"did you mean upper\? " if written == "uper" else ""
    with pytest.raises(
        UserError, match=rf"^aligned_layers: .*{hint}choose from none, all, lower, .*1,2,3$"
    ):
        resolve_layer_set(written, 6)


@pytest.mark.parametrize("name", ["lower", "upper", "even"])
def test_a_name_that_stands_for_no_layer(name):
    with pytest.raises(UserError, match=f"aligned_layers: '{name}' has no layer in a .* depth 1;"):
        resolve_layer_set(name, 1)


@pytest.mark.parametrize(
    ("student", "teacher", "mirrored"),
    [
        (6, 12, [2, 4, 6, 8, 10, 12]),
        (4, 12, [3, 6, 9, 12]),
        (3, 6, [2, 4, 6]),
        (6, 6, [1, 2, 3, 4, 5, 6]),
        (1, 12, [12]),
    ],
)
def test_mirrored_layers(student, teacher, mirrored):
    found = [mirrored_layer(layer, student, teacher) for layer in range(1, student + 1)]
    assert found == mirrored


@pytest.mark.parametrize("depth", [-1, 0, 5, 24])
def test_depths_that_do_not_divide_the_teacher(depth):
    for valid in (1, 2, 3, 4, 6, 12):
        check_depths(valid, 12)
    with pytest.raises(UserError, match=rf"^student_layers: {depth} .*valid: 1, 2, 3, 4, 6, 12$"):
        check_depths(depth, 12)
