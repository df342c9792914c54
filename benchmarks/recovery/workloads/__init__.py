"""The small real trainings, by name. A new one is one file with ``build(seed)`` and a line here."""

from benchmarks.recovery.workloads import char_gpt, digits_cnn, gan, lstm, regression_mlp
from benchmarks.recovery.workloads.base import Batch, Stream, Training, Workload

WORKLOADS: dict[str, Workload] = {
    one.name: one
    for one in (
        Workload("gpt", "character GPT, AdamW", char_gpt.build, steps=400, warm_up=40),
        Workload("cnn", "CNN on digits, SGD with momentum", digits_cnn.build, steps=800, warm_up=40),
        Workload("lstm", "LSTM language model, Adam", lstm.build, steps=400, warm_up=20),
        Workload("rnn", "plain recurrent language model, SGD with momentum", lstm.build_plain, steps=500, warm_up=100),
        Workload("mlp", "MLP regression, Adam", regression_mlp.build, steps=800, warm_up=20),
        Workload("mlp-long", "MLP regression, Adam, for long", regression_mlp.build, steps=20_000, warm_up=20),
        Workload("mlp-fp16", "MLP regression, half precision", regression_mlp.build_half, steps=800, warm_up=20),
        Workload("gan", "GAN on a ring, two Adams", gan.build, steps=1_000, warm_up=1),
    )
}

__all__ = ["WORKLOADS", "Batch", "Stream", "Training", "Workload"]
