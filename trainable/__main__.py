"""One trial as plain Python, without Ray: `python -m trainable --preset mini --alpha 0.5`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainable.arguments import (
    OneLineParser,
    add_input_arguments,
    add_setting_arguments,
    choose_preset,
    given_settings,
)
from trainable.errors import TrainingDivergedError, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Trains one student, printing a JSON line an evaluation; returns the exit code."""
    parser = OneLineParser(prog="python -m trainable", description=__doc__)
    add_input_arguments(parser)
    add_setting_arguments(parser)
    arguments = parser.parse_args(argv)
    try:
        settings = given_settings(arguments)
        if not {"alpha", "alpha_schedule"} & settings.keys():
            settings["alpha"] = 0.5
        _train(arguments, settings)
    except (UserError, TrainingDivergedError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _train(arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
    import torch

    from trainable.data import check_sample
    from trainable.environment import best_device, faster_precision
    from trainable.inputs import complete_config, load_inputs
    from trainable.prepare import Preparation, hidden_pools, prepare_task
    from trainable.quiet import quiet_libraries
    from trainable.trial import Trial

    quiet_libraries()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    name, preset, why = choose_preset(arguments, torch.cuda.is_available())
    config = complete_config(preset, {}, settings, seed=0)
    idle = sorted(config.idle_settings & settings.keys())
    if idle:
        raise UserError(f"{idle[0]}: changes nothing beside the other settings; leave it out")
    inputs = load_inputs(
        preset, teacher=arguments.teacher, dataset=arguments.dataset, cache=arguments.cache
    )
    check_sample(inputs.dataset, arguments.search_sentences)
    preparation = Preparation.load(inputs)
    preparation.check([config])
    if "precision" not in settings:
        config = replace(config, precision=faster_precision(best_device()))
    say(f"preset {name} ({why}); {config.words()}; in {config.precision}")
    environment = preparation.environment(
        arguments.cache, config.precision, arguments.executor, say
    )
    task = prepare_task(preparation, hidden_pools([config]), environment)
    say(f"teacher's accuracy {task.teacher_in_words()}")
    for evaluation in Trial.start(config, task, environment.device).run():
        print(json.dumps(_in_line(evaluation.to_dict())), flush=True)


def _in_line(evaluation: dict[str, Any]) -> dict[str, Any]:
    """An evaluation less its bits, and less the score on a whole split where there is none."""
    bits = ("correct", "whole_correct")
    return {key: v for key, v in evaluation.items() if key not in bits and v is not None}


if __name__ == "__main__":
    sys.exit(main())
