"""Trains one student without Ray; prints a JSON line per evaluation and saves nothing."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from signal import default_int_handler
from typing import Any

from trainable.common.errors import TrainingDivergedError, UserError, error_line
from trainable.common.interrupts import end_quietly, replace_handler
from trainable.config.fields import OneLineParser, add_flags, given
from trainable.config.initialisations import PRETRAINED
from trainable.config.options import InputOptions, complete_config, fitted, resolve_preset
from trainable.config.trial_config import TrialConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Trains one student, printing a JSON line an evaluation; returns the exit code."""
    parser = OneLineParser(prog="python -m trainable", description=__doc__)
    add_flags(parser.add_argument_group("inputs"), InputOptions)
    group = parser.add_argument_group(
        "settings of the trial",
        "Where not given, the preset sets epochs (more where examples are few), evaluations, the "
        "learning rate (by initialisation) and, for mini, the batch size; the depth is half the "
        "teacher's, the precision bf16 where the device is made for it, and transfer_share as "
        "--transfer says.",
    )
    add_flags(group, TrialConfig)
    arguments = parser.parse_args(argv)
    settings = given(arguments, TrialConfig)
    try:
        replace_handler(end_quietly, default_int_handler)
        _train(InputOptions(**given(arguments, InputOptions)), settings)
    except (UserError, TrainingDivergedError, OSError) as error:
        print(error_line(error), file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _train(options: InputOptions, settings: dict[str, Any]) -> None:
    from trainable.common.quiet import quiet_libraries
    from trainable.config.training_inputs import states_read
    from trainable.data.sources import load_sources, teacher_source
    from trainable.engine.devices import best_device, faster_precision
    from trainable.teacher.teacher import student_settings
    from trainable.trial.preparation import Preparation, prepare_inputs
    from trainable.trial.training_loop import Trial

    if options.student and settings.get("initialisation") != PRETRAINED:
        raise UserError(f"--student: has no effect without --initialisation {PRETRAINED}")
    if options.test:
        raise UserError("--test: has no effect here; leave it out")
    quiet_libraries()
    name, why = resolve_preset(options.preset)
    options = fitted(replace(options, preset=name))
    pretrained = student_settings(options.student, teacher_source(options))

    def configured(options: InputOptions) -> TrialConfig:
        constants = {"precision": faster_precision(best_device()), **options.constants}
        rates = options.effective_preset.learning_rates
        return complete_config(constants, rates, settings, pretrained)

    config = configured(options)
    inactive = sorted(config.inactive_settings & settings.keys())
    if inactive:
        raise UserError(f"{inactive[0]}: has no effect with the other settings; leave it out")
    for key, value in settings.items():
        if pretrained and (own := getattr(config, key)) != value:
            raise UserError(f"{key}: is {own} of {options.student}; leave it out")
    preparation = Preparation.load(load_sources(options))
    options = replace(options, examples=len(preparation.inputs.dataset.train))
    config = configured(options)  # which may make more passes over few examples
    preparation.check([config], _say)
    _say(f"Preset {name} ({why}); {config.label()}; in {config.precision}.")
    runtime = preparation.runtime(options, config.precision, _say)
    states = states_read([config], preparation.base.config.num_hidden_layers)
    inputs = prepare_inputs(preparation, states, runtime, options)
    _say(f"Teacher {inputs.metric_label}: {inputs.describe_teacher()}.")
    for evaluation in Trial.start(config, inputs, runtime.device).run():
        print(json.dumps(evaluation.scalars(inputs.metric)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
