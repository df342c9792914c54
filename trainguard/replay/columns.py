"""Which column of a log is which signal: guessed from the names people use, or named by the user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from trainguard.wire import STANDARD_SIGNALS

STEP = "step"

ALIASES: dict[str, tuple[str, ...]] = {
    STEP: (
        "trainer_global_step", "train_global_step", "step", "global_step", "train_step", "optimizer_step",
        "training_step", "iteration", "iter", "iterations", "num_updates", "update", "updates", "n_updates", "it",
        "steps", "total_steps", "batch", "global_iteration", "current_step", "num_steps", "timesteps",
    ),
    "loss": (
        "loss", "train_loss", "training_loss", "train_loss_step", "loss_train", "loss_step", "step_loss", "batch_loss",
        "train_batch_loss", "train_step_loss", "lm_loss", "train_lm_loss", "loss_lm_loss", "train_total_loss",
        "total_loss", "loss_total", "train_ce_loss", "train_ce", "ce_loss", "train_cross_entropy",
        "train_crossentropyloss", "cross_entropy", "cross_entropy_loss", "train_nll", "train_nll_loss", "nll_loss",
        "nll", "train_loss_avg", "loss_avg", "avg_loss", "mean_loss", "train_mean_loss", "metrics_train_loss",
        "loss_mean", "optim_loss", "train_inner_loss", "train_loss_epoch", "trainloss", "loss_metrics_global_avg_loss",
    ),
    "grad_norm": (
        "grad_norm", "global_grad_norm", "gradient_norm", "gradnorm", "total_grad_norm", "grad_norm_total",
        "train_grad_norm", "train_global_grad_norm", "optim_total_grad_norm", "optim_grad_norm", "gnorm",
        "train_gnorm", "train_inner_gnorm", "grad_2_0_norm_total", "grads_norm", "grad_l2_norm", "grad_norm_2",
        "global_gradient_norm", "l2_norm_grad_global", "grad_norm_global", "total_norm", "gradients_norm",
        "train_gradient_norm", "norm_grad", "g_norm",
    ),
    "learning_rate": (
        "learning_rate", "lr", "train_lr", "train_learning_rate", "optim_learning_rate_group0", "optim_lr",
        "optim_learning_rate", "lr_group_0", "lr_0", "lr_group0", "train_inner_lr", "lr_scheduler_lr", "current_lr",
        "base_lr", "step_lr", "learningrate", "schedule_lr",
    ),
    "val_loss": (
        "val_loss", "eval_loss", "valid_loss", "validation_loss", "dev_loss", "loss_val", "loss_eval",
        "loss_valid", "loss_validation", "val_loss_epoch", "val_loss_step", "eval_lm_loss", "lm_loss_validation",
        "valid_nll_loss", "val_nll", "metrics_eval_loss", "test_loss",
    ),
    "loss_scale": (
        "loss_scale", "lossscale", "train_loss_scale", "train_inner_loss_scale", "scaler_scale", "amp_scale",
    ),
    "param_norm": (
        "param_norm", "params_norm", "parameter_norm", "weight_norm", "train_param_norm", "global_param_norm",
    ),
    "update_ratio": ("update_ratio", "update_to_weight_ratio", "update_param_ratio", "train_update_ratio"),
    "step_seconds": ("step_seconds", "step_time_seconds", "seconds_per_step", "sec_per_step"),
}  # fmt: skip
"""By signal: the names it goes by, the likeliest first, as `plain` writes them."""

_SHAPES: dict[str, re.Pattern[str]] = {
    "learning_rate": re.compile(r"^(?:train_)?(?:lr|learning_rate)_[a-z0-9_]+$"),
    "grad_norm": re.compile(r"^grad_\d+_\d+_norm_total$"),
}
"""Names that carry an optimizer's or a group's own: ``lr-AdamW``, ``lr-SGD/pg1``."""
_FURTHER = ("adam_rms", "data_wait_seconds", "samples_per_second", "tokens_per_second", "logit_max")
_PARTS = re.compile(
    r"^(?:loss/rank\d+|(?:grad_norm|param_norm|update_ratio|zero_grads|activation_rms|effective_learning_rate"
    r"|step_seconds)/[A-Za-z0-9_.:/\-]{1,100})$"
)
"""Signals of a layer, a module, a group or a rank, as the hook names them: they are taken as they are."""
_NOT_TRAINING = ("val", "eval", "test", "valid", "dev", "scale", "best", "min", "max", "aux", "epoch", "ema", "spike")
KNOWN = frozenset((*ALIASES, *STANDARD_SIGNALS))


def plain(name: str) -> str:
    """A column's name without its writer's taste.

    >>> plain("Train/Loss"), plain("lr-AdamW/pg1"), plain(" lm loss ")
    ('train_loss', 'lr_adamw_pg1', 'lm_loss')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def choose(names: Iterable[str], named: Mapping[str, str] | None = None) -> dict[str, str]:
    """By signal, and ``step``: the column to read it from; what is ``named`` goes before what is guessed.

    >>> choose(["trainer/global_step", "train/ce", "val/loss", "lr-AdamW"])
    {'step': 'trainer/global_step', 'loss': 'train/ce', 'learning_rate': 'lr-AdamW', 'val_loss': 'val/loss'}
    """
    columns = list(dict.fromkeys(names))
    named = named or {}
    taken = set(named.values())
    by_plain: dict[str, str] = {}
    for column in columns:
        if column not in taken:
            by_plain.setdefault(plain(column), column)
    chosen: dict[str, str] = {}
    for signal, aliases in ALIASES.items():
        if signal in named:
            chosen[signal] = named[signal]
            continue
        found = next((by_plain[alias] for alias in aliases if alias in by_plain), None)
        if found is None and signal in _SHAPES:
            found = next((column for name, column in by_plain.items() if _SHAPES[signal].match(name)), None)
        if found is None:
            found = _by_last_part(signal, aliases, columns, taken)
        if found is None and signal == "loss":
            found = _only_loss(by_plain)
        if found is not None:
            chosen[signal] = found
    for signal in STANDARD_SIGNALS:
        if signal not in chosen and signal in by_plain:
            chosen[signal] = by_plain[signal]
    for column in columns:
        if column not in chosen.values() and (column in _FURTHER or _PARTS.match(column)):
            chosen[column] = column
    chosen.update({signal: column for signal, column in named.items() if signal not in chosen})
    return chosen


def _by_last_part(signal: str, aliases: tuple[str, ...], columns: list[str], taken: set[str]) -> str | None:
    """The one column whose last part is an alias: ``trainer/optim/grad_norm``; ``None`` where there are several."""
    wrong = frozenset() if signal in ("val_loss", STEP) else frozenset(_NOT_TRAINING)
    fit = [
        column
        for column in columns
        if column not in taken
        and plain(re.split(r"[/.]", column)[-1]) in aliases
        and not wrong.intersection(plain(column).split("_"))
    ]
    return fit[0] if len(fit) == 1 else None


def _only_loss(by_plain: Mapping[str, str]) -> str | None:
    """The one column that speaks of a loss of training; ``None`` where there are several, rather than a guess."""
    likely = [
        column
        for name, column in by_plain.items()
        if "loss" in name and not any(word in name.split("_") for word in _NOT_TRAINING)
    ]
    return likely[0] if len(likely) == 1 else None
