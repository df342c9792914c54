"""DistributedDataParallel on two real processes: one run, one voice, and every command on all ranks or on none."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.join import Join
from torch.nn.parallel import DistributedDataParallel

import client_hook
from client_hook import attachment
from client_hook.ranks import Patience
from client_hook.recovery.checkpoints import MemoryCheckpoints
from client_hook.recovery.verification import checksum
from tests.client_hook.ranks.processes import run_ranks
from trainguard.wire import (
    Acknowledgement,
    Command,
    LowerLearningRate,
    Observation,
    Order,
    Pause,
    RerunTest,
    Resume,
    Rollback,
)


class Voices:
    """What a hook puts out, as it leaves its outbox."""

    def __init__(self, hook: client_hook.TrainingHook) -> None:
        self.items: list[Any] = []
        take = hook._outbox.take

        def taking(*arguments: Any) -> list[Any]:
            items = take(*arguments)
            self.items += items
            return items

        hook._outbox.take = taking  # type: ignore[method-assign]

    def of(self, kind: type[Any]) -> list[Any]:
        return [item for item in self.items if isinstance(item, kind)]


class DataParallel:
    """A little training of one rank: the model wrapped, each rank with data of its own."""

    def __init__(self, rank: int) -> None:
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
        self.model = DistributedDataParallel(inner)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.999)
        torch.manual_seed(1 + rank)
        self.spoil: Tensor | float = 1.0

    def attach(self, **options: Any) -> client_hook.TrainingHook:
        options = {"run": "ranks", "scheduler": self.scheduler, "synchronous": True, "checkpoint_every": 10, **options}
        return client_hook.attach(self.model, self.optimizer, **options)

    def loss(self) -> Tensor:
        inputs = torch.randn(16, 8)
        loss: Tensor = ((self.model(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean() * self.spoil
        return loss

    def step(self) -> Tensor:
        loss = self.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return loss


def order(hook: client_hook.TrainingHook, *orders: Order) -> Command:
    position = hook._training.position
    fence = {"attempt": position.attempt, "revision": position.revision, "issued_at": 0.0, "expires_at": 9e9}
    command = Command(command_id=uuid4(), orders=orders, reason="a test", **fence)
    hook._inbox.append(command)
    return command


def one_run(rank: int, folder: Path) -> dict[str, Any]:
    training = DataParallel(rank)
    hook = training.attach(mode="act", checkpoints=folder / "checkpoints")
    voices = Voices(hook)
    losses, applied, sums = [], [], []
    for step in hook.steps(40):
        if step == 25 and hook.attempt == 0 and rank == 0:
            keeper = hook._training.keeper
            assert keeper is not None
            good = [one for one in keeper.reports() if one.state == "confirmed"][-1]
            order(hook, Rollback(checkpoint_id=good.checkpoint_id), LowerLearningRate(factor=0.5))
        loss = training.step()
        losses.append(loss.item())
        outcome = hook.observe(loss)
        if outcome.action:
            applied.append([outcome.step, outcome.action, outcome.next_step, hook.attempt, hook.lr_scale])
        sums.append(checksum(training.model))
    random = torch.rand(1).item()
    hook.close()
    rows = [[row.attempt, row.step, dict(row.signals)] for row in voices.of(Observation)]
    return {
        "run": str(hook.run_id),
        "applied": applied,
        "sums": sums,
        "losses": losses,
        "rows": rows,
        "random": random,
        "transport": hook._worker._transport is not None,
        "answers": [[answer.status, answer.action] for answer in voices.of(Acknowledgement)],
        "rates": [group["lr"] for group in training.optimizer.param_groups],
        "scheduler": training.scheduler.last_epoch,
    }


def test_two_ranks_are_one_run_and_go_back_together(tmp_path: Path) -> None:
    said = run_ranks(one_run, tmp_path)
    first, second = said[0], said[1]
    assert first["run"] == second["run"]
    assert first["sums"] == second["sums"], "bit-identical after every step"
    assert first["applied"] == second["applied"]
    [[step, action, next_step, attempt, scale]] = first["applied"]
    assert (step, action, attempt, scale) == (25, "rollback", 1, 0.5)
    assert next_step in (10, 20)
    assert first["sums"][25] == first["sums"][next_step - 1], "what it was before that step, bit for bit"
    assert first["rates"] == second["rates"]
    assert first["scheduler"] == second["scheduler"] == 40
    assert first["random"] != second["random"], "each rank has streams of its own, also after going back"
    assert first["answers"] == [["applied", "rollback"]]
    # Each rank's loss is known, and the loss of the run is their mean.
    made = {(attempt, step): signals for attempt, step, signals in first["rows"]}
    assert len(first["rows"]) == 26 + 40 - next_step
    for index in range(26):
        signals = made[0, index]
        mine, theirs = first["losses"][index], second["losses"][index]
        assert (signals["loss/rank0"], signals["loss/rank1"]) == (mine, theirs)
        assert math.isclose(signals["loss"], (mine + theirs) / 2)
        assert signals["param_norm/rank0"] == signals["param_norm/rank1"], "the same sample on every rank"
    assert (tmp_path / "checkpoints" / "journal.json").exists()
    parts = sorted((tmp_path / "checkpoints" / first["run"] / "rank-1").glob("*.pt"))
    whole = sorted((tmp_path / "checkpoints" / first["run"]).glob("*.pt"))
    # What rank 0 lets go goes on the others as soon as they hear of it, which may be after the last step.
    assert {one.name for one in whole} <= {part.name for part in parts}
    assert parts[0].stat().st_size < whole[0].stat().st_size


def refuses_a_rerun(rank: int, folder: Path) -> dict[str, Any]:
    training = DataParallel(rank)
    hook = training.attach(mode="advise")
    voices = Voices(hook)
    hook.rerun_with(training.step)
    for step in hook.steps(12):
        if step == 5 and rank == 0:
            order(hook, RerunTest())
        hook.observe(training.step())
    hook.close()
    return {
        "answers": [[one.status, one.reason] for one in voices.of(Acknowledgement)],
        "sum": checksum(training.model),
    }


def test_a_rerun_test_of_one_of_several_ranks_is_refused_and_nobody_waits(tmp_path: Path) -> None:
    said = run_ranks(refuses_a_rerun, tmp_path)
    [[status, reason]] = said[0]["answers"]
    assert status == "refused"
    assert "several ranks would not make the same passes" in reason
    assert said[0]["sum"] == said[1]["sum"]


def goes_on_from_there(rank: int, folder: Path) -> dict[str, Any]:
    """Goes back at step 25 and on to the end; then the same once more by torch alone, begun from that checkpoint."""
    training = DataParallel(rank)
    hook = training.attach(mode="act", checkpoints=folder / "checkpoints")
    keeper = hook._training.keeper
    assert keeper is not None
    checkpoint, streams, sums = None, torch.get_rng_state(), []
    for step in hook.steps(40):
        if step == 25 and hook.attempt == 0 and rank == 0:
            good = [one for one in keeper.reports() if one.state == "confirmed"][-1]
            order(hook, Rollback(checkpoint_id=good.checkpoint_id), LowerLearningRate(factor=0.5))
        outcome = hook.observe(training.step())
        if outcome.rolled_back:
            [checkpoint] = [one for one in keeper.reports() if one.step == outcome.next_step and one.attempt == 0]
            # Which random numbers come next is the rollback's to choose: not those that did it.
            streams = torch.get_rng_state()
        elif hook.attempt:
            sums.append(checksum(training.model))
    assert checkpoint is not None
    snapshot = keeper.load(checkpoint.checkpoint_id)
    hook.close()
    plain = DataParallel(rank)
    plain.model.module.load_state_dict({**snapshot.model["parameters"], **snapshot.model["buffers"]})
    [stored], [group] = snapshot.optimizers, plain.optimizer.state_dict()["param_groups"]
    options = {**stored["options"][0], "params": group["params"]}
    plain.optimizer.load_state_dict({"state": stored["state"], "param_groups": [options]})
    plain.scheduler.last_epoch = checkpoint.step
    torch.set_rng_state(streams)
    reference = []
    for _ in range(checkpoint.step, 40):
        scheduled = plain.optimizer.param_groups[0]["lr"]
        halved = plain.optimizer.register_step_pre_hook(
            lambda optimizer, args, kwargs: optimizer.param_groups[0].update(lr=scheduled * 0.5)  # noqa: B023
        )
        back = plain.optimizer.register_step_post_hook(
            lambda optimizer, args, kwargs: optimizer.param_groups[0].update(lr=scheduled)  # noqa: B023
        )
        plain.step()
        halved.remove()
        back.remove()
        reference.append(checksum(plain.model))
    return {"sums": sums, "reference": reference, "from": checkpoint.step}


def test_after_a_rollback_the_ranks_train_as_if_begun_from_that_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    said = run_ranks(goes_on_from_there, tmp_path)
    first, second = said[0], said[1]
    assert first["from"] == second["from"] in (10, 20)
    assert len(first["sums"]) == 40 - first["from"]
    assert first["sums"] == first["reference"]
    assert second["sums"] == second["reference"] == first["sums"]


def awkward_moments(rank: int, folder: Path) -> dict[str, Any]:
    """Not synchronous: couriers and delivery threads at work, a bad batch on one rank, and data of uneven length."""
    attachment.PATIENCE = Patience(check_seconds=6, values_seconds=1)
    training = DataParallel(rank)
    hook = training.attach(mode="act", checkpoints=MemoryCheckpoints(), synchronous=False)
    voices = Voices(hook)
    said: dict[str, Any] = {"applied": [], "sums": [], "skipped": []}

    def observed(loss: Tensor) -> None:
        outcome = hook.observe(loss)
        if outcome.action:
            said["applied"].append([outcome.step, outcome.action, outcome.next_step, outcome.rolled_back])
        said["sums"].append(checksum(training.model))

    for step in range(60):
        if step == 20 and rank == 0:
            order(hook, LowerLearningRate(factor=0.5))
        before = checksum(training.model)
        training.spoil = float("nan") if (step, rank) == (40, 1) else 1.0
        loss = training.step()
        if step == 40:
            said["kept out"] = checksum(training.model) == before
        observed(loss)
    with Join([training.model]):
        for step in range(12 if rank == 0 else 5):
            if step == 8 and rank == 0:
                order(hook, LowerLearningRate(factor=0.25))
            observed(training.step())
    hook.close()
    said["answers"] = [[one.status, one.action, one.reason] for one in voices.of(Acknowledgement)]
    said["rows"] = [[row.attempt, row.step, dict(row.signals)] for row in voices.of(Observation)]
    said["scale"] = hook.lr_scale
    return said


def test_a_bad_batch_and_uneven_inputs_hang_nobody_and_part_nobody(tmp_path: Path) -> None:
    said = run_ranks(awkward_moments, tmp_path)
    first, second = said[0], said[1]
    assert first["sums"][:65] == second["sums"]
    assert first["kept out"]
    assert second["kept out"]
    assert first["applied"] == second["applied"]
    assert first["applied"][0][1] == "lower_learning_rate"
    assert first["scale"] == second["scale"]
    at_40 = next(signals for attempt, step, signals in first["rows"] if (attempt, step) == (0, 40))
    assert math.isfinite(at_40["loss/rank0"])
    assert math.isnan(at_40["loss/rank1"])
    status, action, reason = first["answers"][-1]
    assert (status, action) == ("refused", "lower_learning_rate")
    assert "rank 1 did not" in reason


def scaled(rank: int, folder: Path) -> dict[str, Any]:
    """Under a GradScaler, where the gradients of one rank alone overflow at two steps."""
    training = DataParallel(rank)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=5)
    hook = training.attach(mode="act", checkpoints=folder / "checkpoints", scaler=scaler)
    voices = Voices(hook)
    said: dict[str, Any] = {"sums": [], "scales": [], "applied": []}
    for step in hook.steps(24):
        loss = training.loss()
        overflow = float("inf") if rank == 1 and step in (9, 14) else 1.0
        scaler.scale(loss * overflow).backward()  # type: ignore[no-untyped-call]
        hook.clip_grad_norm_(1.0)
        scaler.step(training.optimizer)
        scaler.update()
        training.optimizer.zero_grad()
        said["applied"] += [outcome.action for outcome in [hook.observe(loss)] if outcome.action]
        said["sums"].append(checksum(training.model))
        said["scales"].append(scaler.get_scale())
    said["troubled"] = rank == 0 and hook._brain.is_troubled
    hook.close()
    said["rows"] = [dict(row.signals) for row in voices.of(Observation)]
    return said


def test_a_step_that_the_scaler_skips_is_skipped_on_every_rank_and_no_incident(tmp_path: Path) -> None:
    said = run_ranks(scaled, tmp_path)
    first, second = said[0], said[1]
    assert first["sums"] == second["sums"]
    assert first["scales"] == second["scales"]
    assert [index for index in range(1, 24) if first["sums"][index] == first["sums"][index - 1]] == [9, 14]
    assert [row["update_skipped"] for row in first["rows"]] == [float(step in (9, 14)) for step in range(24)]
    assert all(math.isfinite(row["loss"]) for row in first["rows"])
    assert [row["loss_scale"] for row in first["rows"]] == first["scales"]
    assert not first["applied"]
    assert not first["troubled"]


def without_gradients(rank: int, folder: Path) -> dict[str, Any]:
    """From step 6 on rank 1 has none, as one whose batch uses nothing of the model."""
    training = DataParallel(rank)
    hook = training.attach(mode="observe", guard=True)
    voices, losses = Voices(hook), []
    for step in hook.steps(12):
        loss = training.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        if rank == 1 and step >= 6:
            training.optimizer.zero_grad()
        training.optimizer.step()
        training.optimizer.zero_grad()
        hook.observe(loss)
        losses.append(loss.item())
    hook.close()
    return {"losses": losses, "rows": [dict(row.signals) for row in voices.of(Observation)]}


def test_a_rank_without_gradients_holds_nobody_up(tmp_path: Path) -> None:
    said = run_ranks(without_gradients, tmp_path)
    rows = said[0]["rows"]
    assert [row["loss/rank1"] for row in rows] == said[1]["losses"]
    assert all(row["grad_norm"] > 0 for row in rows)
    assert [row["param_norm/rank0"] == row["param_norm/rank1"] for row in rows] == [True] * 6 + [False] * 6


def dies_over_a_command(rank: int, folder: Path) -> dict[str, Any]:
    """Rank 1 is killed between the commit and its own application."""
    attachment.PATIENCE = Patience(silence_seconds=5, grace_seconds=1)
    training = DataParallel(rank)
    hook = training.attach(mode="act", checkpoints=folder / "checkpoints")
    said: dict[str, Any] = {"attempt": hook.attempt, "begins": hook.next_step, "run": str(hook.run_id)}
    said["sum"] = checksum(training.model)
    if rank == 1:
        hook._boundary._carry_out = lambda prepared: os._exit(9)  # type: ignore[method-assign]
    try:
        for step in hook.steps(60):
            if step == 30 and rank == 0:
                order(hook, LowerLearningRate(factor=0.5))
            hook.observe(training.step())
    except client_hook.TrainingHalted as halted:
        said["halted"] = halted.reason
        said["status"] = halted.report["acknowledgement"]["status"]
    # Killed as well: the journal still says that the run is under way.
    return said


def grows(rank: int, folder: Path) -> str:
    try:
        DataParallel(rank).attach(mode="act", checkpoints=folder / "checkpoints")
    except client_hook.AttachError as error:
        return str(error)
    return ""


def goes_on(rank: int, folder: Path) -> dict[str, Any]:
    training = DataParallel(rank)
    hook = training.attach(mode="act", checkpoints=folder / "checkpoints")
    said = {"attempt": hook.attempt, "begins": hook.next_step, "run": str(hook.run_id), "scale": hook.lr_scale}
    said["sum"] = checksum(training.model)
    for _ in hook.steps(hook.next_step + 3):
        hook.observe(training.step())
    said["end"] = checksum(training.model)
    said["revision"] = hook._training.position.revision
    hook.close()
    return said


def test_a_rank_that_dies_over_a_command_halts_the_others_and_the_run_is_taken_up_whole(tmp_path: Path) -> None:
    said = run_ranks(dies_over_a_command, tmp_path, may_die=(1,))
    assert set(said) == {0}
    assert said[0]["status"] == "failed"
    assert "The ranks have parted, so the training halts: rank 1 has given no sign of life" in said[0]["halted"]
    journal = tmp_path / "checkpoints" / "journal.json"
    # As `kill -9` at that moment would have left it.
    journal.write_text(journal.read_text().replace('"state": "halted"', '"state": "running"'))
    (tmp_path / "said-0.json").unlink()
    too_many = run_ranks(grows, tmp_path, ranks=3)
    assert "rank 2 has its part of none of its checkpoints; start as many ranks as before" in too_many[0]
    assert all(too_many[0] in said for said in too_many.values())
    for path in tmp_path.glob("said-*"):
        path.unlink()
    again = run_ranks(goes_on, tmp_path)
    assert again[0] == again[1]
    assert again[0]["run"] == said[0]["run"]
    assert (again[0]["attempt"], again[0]["begins"] > 0) == (1, True)


def cannot_attach(rank: int, folder: Path) -> str:
    training = DataParallel(rank)
    if rank == 1:
        with torch.no_grad():
            training.model.module[0].weight.add_(1.0)
    try:
        training.attach(mode="act", checkpoints=folder / "checkpoints").close()
    except client_hook.AttachError as error:
        return str(error)
    return ""


def test_ranks_attach_together_or_not_at_all(tmp_path: Path) -> None:
    said = run_ranks(cannot_attach, tmp_path)
    assert said[0].startswith("the parameters of rank 1 are not those of rank 0")
    assert said[1].startswith("the ranks attach together or not at all, and rank 0 could not attach: the parameters of")


def waits_and_ends(rank: int, folder: Path) -> dict[str, Any]:
    """A pause that a person ends, and a rank that halts for a reason of its own."""
    training = DataParallel(rank)
    hook = training.attach(mode="advise", checkpoints=MemoryCheckpoints(), synchronous=False)
    hook._training.pause.can_be_ended = True
    said: dict[str, Any] = {"applied": []}

    def resume() -> None:
        order(hook, Resume())
        hook._called.set()

    try:
        for step in range(2_000):
            if step == 5 and rank == 0:
                order(hook, Pause(seconds=100))
            if step == 5 and rank == 0:
                threading.Timer(1.0, resume).start()
            if said["applied"] and rank == 1 and hook._shared is not None:
                hook._shared.broadcast_halt("its disk is full")
            outcome = hook.observe(training.step())
            if outcome.action:
                said["applied"].append(outcome.action)
    except client_hook.TrainingHalted as halted:
        said["halted"] = halted.reason
    except RuntimeError:
        said["halted"] = "left alone in a collective"  # gloo, when rank 0 has gone
    return said


def test_all_ranks_wait_and_go_on_together_and_one_that_halts_halts_all(tmp_path: Path) -> None:
    began = time.monotonic()
    said = run_ranks(waits_and_ends, tmp_path, may_die=(1,))
    assert time.monotonic() - began < 90
    assert said[0]["applied"] == ["resume"], "the pause and its end are one stop of the loop"
    assert said[0]["halted"].endswith("rank 1 has halted: its disk is full")
