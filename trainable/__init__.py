"""One trial of the distillation search: data, teacher, student, losses, training loop.

Nothing here knows of Ray except `trainable.ray_adapter`. The way from text to loss:

    tables          a file or hub id -> tables
    data            tables -> Dataset: texts, labels 0..C-1, checked
    tokens          texts -> TokenisedSplit: one run of token ids, offsets, labels
    teacher         the encoder, fine-tuned once        } kept by digest and
    teacher_outputs logits [N, C], hidden states        } shared; `prepare` calls all of these
    student         the teacher's configuration with fewer layers, weights copied or random
    trial           the loop: batches -> tokens.padded_batch [B, T] -> engine.TrainingStep
    distillation    student's and teacher's outputs on a batch -> losses -> one scalar
"""
