"""What a request takes from its models: the depths that are tried, depth and width of --student."""

import inspect
from dataclasses import replace

from search.plan.objectives import LEAST_DEPTH, student_depths
from search.plan.request import Request
from spaces import Space
from trainable.common.errors import UserError, as_user_error

LAYERS, WIDTH = "student_layers", "student_width"


def with_models(request: Request, space: Space) -> Request:
    """The request with what `--student` decides, and what its space asks about the models.

    UserError where one can't be had.
    """
    if request.student is None and "relation_heads" not in inspect.signature(space).parameters:
        return request
    from trainable.data.sources import teacher_source  # all with torch, which takes seconds to load
    from trainable.models.loading import load_tokenizer
    from trainable.models.relations import shared_heads
    from trainable.teacher.teacher import config_of, student_settings
    from trainable.trial.tokenised_data import same_tokens

    teacher, student = teacher_source(request), request.student
    models = {"--teacher": teacher} | ({} if student is None else {"--student": student})
    configs = [config_of(flag, source) for flag, source in models.items()]
    tokenizers = []
    for flag, source in models.items() if student is not None else ():
        with as_user_error(f"{flag} {source}: has no usable tokenizer; "):
            tokenizers.append(load_tokenizer(source))
    return replace(
        request,
        pretrained=tuple(student_settings(student, teacher).items()),
        relation_heads=shared_heads(configs, request.pinned.get(WIDTH)),
        teachers_tokens=student is None or same_tokens(*tokenizers),
    )


def with_depths(request: Request) -> Request:
    """The request with the depths that fit its teacher; as it is where nothing is weighed.

    The deepest is half the teacher's, or what `--set student_layers` gives, which then is no longer
    a setting of all trials. UserError where the teacher can't be had, or has no two such depths.
    """
    if request.against is None:
        return request
    from trainable.data.sources import (
        teacher_source,  # both with torch, which takes seconds to load
    )
    from trainable.teacher.teacher import config_of

    layers = int(config_of("--teacher", teacher_source(request)).num_hidden_layers)
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
