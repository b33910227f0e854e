"""One trial of the distillation search: data, teacher, student, losses, training loop.

Nothing here knows of Ray except `trainable.ray_adapter`. The way from text to loss:

    tables          a file or hub id -> tables
    data            tables -> Dataset: texts, labels 0..C-1, checked
    tokens          texts -> TokenisedSplit: one run of token ids, offsets, labels
    teacher         the encoder, fine-tuned once        } kept by digest and
    teacher_outputs logits [N, C], hidden states        } shared; `prepare` calls all of these
    student         the teacher's configuration with fewer layers, weights copied or random
    workbench       what one process keeps from trial to trial: the student, its optimiser, steps
    trial           the loop: batches -> engine.Training -> executor -> engine.TrainingStep
    sentences       rows -> Batch [B, T], made on the device
    distillation    student's and teacher's outputs on a batch -> losses -> one scalar
    execution       whether a step runs as it is or is captured, which attention
"""
