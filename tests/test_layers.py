"""Layer sets as strings, and the teacher layers that are mirrored."""

import pytest

from trainable.errors import UserError
from trainable.layers import check_depths, mirrored_layer, parse_layers, resolve_layer_set
from trainable.names import NAMED_LAYER_SETS

DEPTHS = [2, 3, 4, 6, 12]


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
        ("all", 1, "1"),
        ("odd", 1, "1"),
        ("none", 1, "none"),
    ],
)
def test_named_sets(name, depth, layers):
    assert resolve_layer_set(name, depth) == layers


@pytest.mark.parametrize("depth", DEPTHS)
def test_even_and_odd_share_out_all_layers(depth):
    even, odd, every = (
        set(parse_layers(resolve_layer_set(name, depth))) for name in ("even", "odd", "all")
    )
    assert even | odd == every == set(range(1, depth + 1))
    assert not even & odd


@pytest.mark.parametrize("depth", DEPTHS)
def test_lower_and_upper_are_equally_large_and_apart(depth):
    lower, upper = (parse_layers(resolve_layer_set(name, depth)) for name in ("lower", "upper"))
    assert len(lower) == len(upper) == depth // 2
    assert lower[0] == 1
    assert upper[-1] == depth
    assert max(lower) < min(upper)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", NAMED_LAYER_SETS)
def test_a_resolved_set_resolves_to_itself(name, depth):
    resolved = resolve_layer_set(name, depth)
    assert resolve_layer_set(resolved, depth) == resolved


@pytest.mark.parametrize(
    ("written", "layers"), [("3,1,2", "1,2,3"), ("2,2", "2"), (" 1, 6 ", "1,6"), ("06", "6")]
)
def test_written_sets_have_one_spelling(written, layers):
    assert resolve_layer_set(written, 6) == layers


@pytest.mark.parametrize(("text", "layers"), [("none", ()), ("4", (4,)), ("1,2,10", (1, 2, 10))])
def test_parse_layers(text, layers):
    assert parse_layers(text) == layers


@pytest.mark.parametrize("layer", [0, 7])
def test_a_layer_outside_the_student(layer):
    with pytest.raises(UserError, match=rf"^aligned_layers: layer {layer} .* 1 to 6$"):
        resolve_layer_set(f"1,{layer}", 6)


@pytest.mark.parametrize("written", ["", ",", "1,,2", "-1", "1.5", "1;2", "None", "1-3"])
def test_what_is_no_set(written):
    with pytest.raises(UserError, match=r"^aligned_layers: .*valid: none, all, lower, .*1,2,3$"):
        resolve_layer_set(written, 6)


def test_the_nearest_name_is_suggested():
    with pytest.raises(UserError, match="'uper' is not known; did you mean upper\\?"):
        resolve_layer_set("uper", 6)


@pytest.mark.parametrize("name", ["lower", "upper", "even"])
def test_a_name_that_stands_for_no_layer(name):
    with pytest.raises(UserError, match=f"aligned_layers: '{name}' is empty for a student of 1 "):
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


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 12])
def test_depths_that_divide_the_teacher_pass(depth):
    check_depths(depth, 12)


@pytest.mark.parametrize("depth", [-1, 0, 5, 8, 24])
def test_depths_that_do_not_divide_the_teacher(depth):
    with pytest.raises(UserError, match=rf"^student_layers: {depth} .*valid: 1, 2, 3, 4, 6, 12$"):
        check_depths(depth, 12)
