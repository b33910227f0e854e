"""Sets of student layers as strings, and which teacher layer each student layer mirrors.

Layers are counted from 1. A set is `none` or layer numbers in rising order joined by commas, so
that it can be hashed, stored and compared; `resolve_layer_set` writes named sets out for a depth.
"""

from trainable.common.errors import UserError, unknown_name
from trainable.config.names import NAMED_LAYER_SETS, NO_LAYERS


def named_layers(name: str, student_layers: int) -> tuple[int, ...]:
    """The layers a name of NAMED_LAYER_SETS stands for in a student of that depth."""
    layers, half = tuple(range(1, student_layers + 1)), student_layers // 2
    return {
        NO_LAYERS: (),
        "all": layers,
        "lower": layers[:half],
        "upper": layers[student_layers - half :],
        "even": layers[1::2],
        "odd": layers[::2],
    }[name]


def parse_layers(layer_set: str) -> tuple[int, ...]:
    """The layer numbers of a written-out set, `()` for `none`."""
    if layer_set == NO_LAYERS:
        return ()
    return tuple(int(layer) for layer in layer_set.split(","))


def resolve_layer_set(layer_set: str, student_layers: int) -> str:
    """Writes a named set out ("lower" -> "1,2,3" at depth 6) and checks a written-out one.

    UserError for an unknown name, a layer outside the student, or a name without layers at this
    depth.
    """
    if layer_set in NAMED_LAYER_SETS:
        layers = named_layers(layer_set, student_layers)
        if not layers and layer_set != NO_LAYERS:
            raise UserError(
                f"aligned_layers: {layer_set!r} has no layer in a student of depth "
                f"{student_layers}; give layer numbers or {NO_LAYERS}, or more student_layers"
            )
    else:
        layers = _written_layers(layer_set)
        for layer in layers:
            if not 1 <= layer <= student_layers:
                raise UserError(
                    f"aligned_layers: layer {layer} is outside the student, "
                    f"whose layers are 1 to {student_layers}"
                )
    return ",".join(str(layer) for layer in layers) or NO_LAYERS


def _written_layers(layer_set: str) -> tuple[int, ...]:
    parts = layer_set.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise unknown_name("aligned_layers", layer_set, (*NAMED_LAYER_SETS, "numbers like 1,2,3"))
    return tuple(sorted({int(part) for part in parts}))


def check_depths(student_layers: int, teacher_layers: int) -> None:
    """Raises UserError unless the student's depth divides the teacher's."""
    if student_layers < 1 or teacher_layers % student_layers:
        divisors = [n for n in range(1, teacher_layers + 1) if teacher_layers % n == 0]
        raise UserError(
            f"student_layers: {student_layers} does not divide the teacher's {teacher_layers} "
            f"layers; valid: {', '.join(map(str, divisors))}"
        )


def half_depth(teacher_layers: int) -> int:
    """Half the teacher's layers, or the next depth below that divides them."""
    depths = range(1, max(1, teacher_layers // 2) + 1)
    return max(depth for depth in depths if teacher_layers % depth == 0)


def mirrored_layer(student_layer: int, student_layers: int, teacher_layers: int) -> int:
    """The teacher layer that a student layer mirrors: i * T / S (12 -> 6: layer 2i)."""
    return student_layer * teacher_layers // student_layers


def mirrored_layers(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher layers that all of a student's layers mirror, in their order."""
    layers = range(1, student_layers + 1)
    return tuple(mirrored_layer(layer, student_layers, teacher_layers) for layer in layers)
