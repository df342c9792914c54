"""Which columns people's tools write, and what is made of them."""

from __future__ import annotations

import pytest

from trainguard.replay.columns import choose


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["step", "loss", "grad_norm", "lr"],
         {"step": "step", "loss": "loss", "grad_norm": "grad_norm", "learning_rate": "lr"}),
        (["trainer/global_step", "_step", "train/loss", "val/loss", "lr-AdamW/pg1"],
         {"step": "trainer/global_step", "loss": "train/loss", "val_loss": "val/loss",
          "learning_rate": "lr-AdamW/pg1"}),
        (["_step", "train/CrossEntropyLoss", "optim/total_grad_norm", "optim/learning_rate_group0"],
         {"step": "_step", "loss": "train/CrossEntropyLoss", "grad_norm": "optim/total_grad_norm",
          "learning_rate": "optim/learning_rate_group0"}),
        (["iteration", "lm loss", "grad-norm", "learning-rate", "loss-scale", "lm loss validation"],
         {"step": "iteration", "loss": "lm loss", "grad_norm": "grad-norm", "learning_rate": "learning-rate",
          "loss_scale": "loss-scale", "val_loss": "lm loss validation"}),
        (["num_updates", "train_inner/loss", "train_inner/gnorm", "valid/loss"],
         {"step": "num_updates", "loss": "train_inner/loss", "grad_norm": "train_inner/gnorm",
          "val_loss": "valid/loss"}),
        (["Step", "brave-sky-7 - my_loss", "brave-sky-7 - my_loss__MIN", "brave-sky-7 - my_loss__MAX"],
         {"step": "Step", "loss": "brave-sky-7 - my_loss"}),
        (["step", "gen_loss", "disc_loss"], {"step": "step"}),
        (["step", "eval/loss"], {"step": "step", "val_loss": "eval/loss"}),
        (["step", "model/stage1/grad_norm", "loss"],
         {"step": "step", "grad_norm": "model/stage1/grad_norm", "loss": "loss"}),
        (["step", "loss", "loss/rank0", "loss/rank1", "zero_grads/head", "tokens_per_second"],
         {"step": "step", "loss": "loss", "loss/rank0": "loss/rank0", "loss/rank1": "loss/rank1",
          "zero_grads/head": "zero_grads/head", "tokens_per_second": "tokens_per_second"}),
    ],
    ids=["ours", "lightning-wandb", "olmo", "megatron", "fairseq", "wandb-export", "two-losses", "evaluation-only",
         "last-part", "ranks"],
)  # fmt: skip
def test_columns_are_guessed(names: list[str], chosen: dict[str, str]) -> None:
    assert choose(names) == chosen


def test_what_is_named_goes_before_what_is_guessed() -> None:
    names = ["step", "loss", "aux", "t"]
    assert choose(names, {"loss": "aux", "step": "t"}) == {"step": "t", "loss": "aux"}
