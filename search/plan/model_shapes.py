"""What a request takes from its models: the depths that are tried, depth and width of --student."""

from dataclasses import replace

from search.plan.objectives import LEAST_DEPTH, student_depths
from search.plan.request import Request
from trainable.common.errors import UserError

LAYERS = "student_layers"


def with_student(request: Request) -> Request:
    """The request with depth and width of `--student`; UserError where it can't be had."""
    if request.student is None:
        return request
    from trainable.data.inputs import teacher_source  # both with torch, which takes seconds to load
    from trainable.teacher.teacher import student_settings

    found = student_settings(request.student, teacher_source(request))
    return replace(request, pretrained=tuple(found.items()))


def with_depths(request: Request) -> Request:
    """The request with the depths that fit its teacher; as it is where nothing is weighed.

    The deepest is half the teacher's, or what `--set student_layers` gives, which then is no longer
    a setting of all trials. UserError where the teacher can't be had, or has no two such depths.
    """
    if request.against is None:
        return request
    from trainable.data.inputs import teacher_source  # both with torch, which takes seconds to load
    from trainable.teacher.teacher import teacher_layers

    layers = teacher_layers(teacher_source(request))
    given = request.pinned.get(LAYERS)
    others = tuple(pair for pair in request.overrides if pair[0] != LAYERS)
    every = {n: student_depths(layers, n) for n in range(layers, 0, -1) if layers % n == 0}
    usable = [deepest for deepest, depths in every.items() if len(depths) > 1]
    deepest = layers // 2 if given is None else given
    if deepest not in usable:
        named = f"--against {request.against}" if given is None else f"--set {LAYERS}={given}"
        raise UserError(
            f"{named}: tries two depths or more that divide the teacher's {layers} layers, from "
            f"the deepest student down to half of it, at least {LEAST_DEPTH}; give the deepest "
            f"with --set {LAYERS}=N, valid: {', '.join(map(str, usable)) or 'none'}"
        )
    return replace(request, overrides=others, depths=every[deepest])
