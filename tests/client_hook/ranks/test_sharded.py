"""``fully_shard`` on two real processes: whole norms from shares, one decision of the guard, and back together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

import client_hook
from client_hook.recovery.checkpoints.distributed import DistributedCheckpoints
from client_hook.recovery.verification import checksum
from tests.client_hook.ranks.processes import run_ranks
from tests.client_hook.ranks.test_data_parallel import Voices, order
from trainguard.wire import Acknowledgement, LowerLearningRate, Observation, Rollback


class Sharded:
    """A little training of one rank; one tensor so small that rank 1 holds nothing of it."""

    def __init__(self, rank: int, ranks: int = 2) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(8, 17), nn.Tanh(), nn.Linear(17, 1))
        mesh = init_device_mesh("cpu", (ranks,))
        for layer in self.model:
            if isinstance(layer, nn.Linear):
                fully_shard(layer, mesh=mesh)
        fully_shard(self.model, mesh=mesh)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.999)
        self.draw = torch.Generator().manual_seed(1 + rank)

    def attach(self, **options: Any) -> client_hook.TrainingHook:
        options = {"run": "shards", "scheduler": self.scheduler, "synchronous": True, "checkpoint_every": 10, **options}
        return client_hook.attach(self.model, self.optimizer, **options)

    def gradients(self) -> Tensor:
        inputs = torch.randn(16, 8, generator=self.draw)
        loss = ((self.model(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def update(self) -> None:
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()

    def whole(self) -> list[Tensor]:
        """Copies of the whole parameters: a collective."""
        return [p.detach().full_tensor().clone() for p in self.model.parameters() if isinstance(p, DTensor)]

    def moments(self) -> list[Any]:
        return [type(values["exp_avg"]).__name__ for values in self.optimizer.state.values()]


def norm_of(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float((tensor.double() ** 2).sum()) for tensor in tensors))


def measured(rank: int, folder: Path) -> dict[str, Any]:
    training = Sharded(rank)
    hook = training.attach(mode="observe", layers_every=4)
    voices, truth = Voices(hook), []
    for step in hook.steps(8):
        loss = training.gradients()
        gradients = [p.grad.full_tensor() for p in training.model.parameters() if isinstance(p.grad, DTensor)]
        if step >= 4:
            hook.clip_grad_norm_(0.5)
        before = training.whole()
        training.update()
        after = training.whole()
        truth.append(
            {
                "grad_norm": norm_of(gradients),
                "param_norm": norm_of(after),
                "update_norm": norm_of([new - old for new, old in zip(after, before)]),
                "grad_norm/0.weight": norm_of(gradients[:1]),
            }
        )
        hook.observe(loss)
    hook.close()
    return {"truth": truth, "rows": [dict(row.signals) for row in voices.of(Observation)]}


def test_norms_of_the_whole_model_from_the_shares_of_the_ranks(tmp_path: Path) -> None:
    said = run_ranks(measured, tmp_path)[0]
    for step, (row, truth) in enumerate(zip(said["rows"], said["truth"], strict=True)):
        for name in ("grad_norm", "param_norm", "update_norm"):
            assert math.isclose(row[name], truth[name], rel_tol=1e-4), (step, name)
        assert math.isclose(row["update_ratio"], truth["update_norm"] / truth["param_norm"], rel_tol=1e-3)
        assert ("grad_norm_clipped" in row) == (step >= 4)
        assert {"loss/rank0", "loss/rank1", "adam_rms"} <= row.keys()
    assert math.isclose(said["rows"][3]["grad_norm/0.weight"], said["truth"][3]["grad_norm/0.weight"], rel_tol=1e-4)


class Hybrid(Sharded):
    """HSDP: sharded over two ranks, and each shard held by two."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(8, 17), nn.Tanh(), nn.Linear(17, 1))
        fully_shard(self.model, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.999)
        self.draw = torch.Generator().manual_seed(1)


def hybrid(rank: int, folder: Path) -> dict[str, Any]:
    """Norms of the whole; a bad element in one shard of one replica; back together."""
    training = Hybrid()
    hook = training.attach(mode="act", checkpoints=folder / "checkpoints")
    voices = Voices(hook)
    said: dict[str, Any] = {"truth": [], "kept out": [], "applied": [], "sums": []}
    for step in hook.steps(29):
        if step == 25 and hook.attempt == 0 and rank == 0:
            keeper = hook._training.keeper
            assert keeper is not None
            good = next(one for one in keeper.reports() if one.step == 10)
            order(hook, Rollback(checkpoint_id=good.checkpoint_id))
        loss = training.gradients()
        gradients = [p.grad.full_tensor() for p in training.model.parameters() if isinstance(p.grad, DTensor)]
        before = training.whole()
        if (step, hook.attempt, rank) == (14, 0, 3):
            gradient = next(iter(training.model.parameters())).grad
            assert isinstance(gradient, DTensor)
            gradient.to_local()[0, 0] = float("nan")
        training.update()
        if (step, hook.attempt) == (14, 0):
            said["kept out"] = [torch.equal(old, new) for old, new in zip(before, training.whole())]
        if hook.attempt == 0 and step < 8:
            said["truth"].append([norm_of(gradients), norm_of(training.whole())])
        outcome = hook.observe(loss)
        if outcome.action:
            said["applied"].append([outcome.step, outcome.action, outcome.next_step])
        said["sums"].append(norm_of(training.whole()))
    hook.close()
    said["rows"] = [dict(row.signals) for row in voices.of(Observation)]
    return said


def test_hybrid_shards_are_measured_whole_guarded_together_and_taken_back(tmp_path: Path) -> None:
    said = run_ranks(hybrid, tmp_path, ranks=4)
    first = said[0]
    for row, (gradient, parameters) in zip(first["rows"], first["truth"]):
        assert math.isclose(row["grad_norm"], gradient, rel_tol=1e-4)
        assert math.isclose(row["param_norm"], parameters, rel_tol=1e-4)
    assert all(one["kept out"] == [True] * 4 for one in said.values())
    assert all(one["applied"] == [[25, "rollback", 10]] for one in said.values()), first["applied"]
    assert all(one["sums"] == first["sums"] for one in said.values())
    assert math.isclose(first["sums"][25], first["sums"][9])


def guarded_and_back(rank: int, folder: Path) -> dict[str, Any]:
    training = Sharded(rank)
    hook = training.attach(mode="act", checkpoints=folder / "checkpoints")
    voices = Voices(hook)
    said: dict[str, Any] = {"applied": [], "sums": [], "kept out": []}
    kept: dict[int, list[Tensor]] = {}
    for step in hook.steps(35):
        if step == 25 and hook.attempt == 0 and rank == 0:
            keeper = hook._training.keeper
            assert keeper is not None
            good = next(one for one in keeper.reports() if one.step == 10)
            said["state"] = good.state
            order(hook, Rollback(checkpoint_id=good.checkpoint_id), LowerLearningRate(factor=0.5))
        if step == 10 and hook.attempt == 0:
            kept[10] = training.whole()
        loss = training.gradients()
        before = training.whole()
        if (step, hook.attempt, rank) == (14, 0, 1):
            # In the shard of rank 1 alone, as a flipped bit would be.
            gradient = next(iter(training.model.parameters())).grad
            assert isinstance(gradient, DTensor)
            gradient.to_local()[0, 0] = float("nan")
        training.update()
        if (step, hook.attempt) == (14, 0):
            same = [torch.equal(old, new) for old, new in zip(before, training.whole())]
            said["kept out"] = same
        outcome = hook.observe(loss)
        if outcome.action:
            said["applied"].append([outcome.step, outcome.action, outcome.next_step, hook.attempt, hook.lr_scale])
        if outcome.rolled_back:
            said["restored"] = [torch.equal(old, new) for old, new in zip(kept[10], training.whole())]
            said["moments"] = training.moments()
        said["sums"].append(checksum(training.model))
    hook.close()
    said["answers"] = [[one.status, one.action, one.reason] for one in voices.of(Acknowledgement)]
    said["skips"] = [row.step for row in voices.of(Observation) if row.signals.get("update_skipped") == 1.0]
    said["bad"] = [row.step for row in voices.of(Observation) if row.signals.get("nonfinite_grads")]
    said["scheduler"] = training.scheduler.last_epoch
    said["end"] = [tensor.sum().item() for tensor in training.whole()]
    return said


def test_a_bad_shard_keeps_the_update_from_all_and_a_rollback_takes_all_back(tmp_path: Path) -> None:
    said = run_ranks(guarded_and_back, tmp_path)
    first, second = said[0], said[1]
    assert first["kept out"] == second["kept out"] == [True] * 4
    assert first["skips"] == [14]
    assert first["bad"] == [14]
    assert first["applied"] == second["applied"]
    assert first["applied"][-1][1:] == ["rollback", 10, 1, 0.5], first["answers"]
    assert first["restored"] == second["restored"] == [True] * 4
    assert first["moments"] == second["moments"] == ["DTensor"] * 4
    assert first["end"] == second["end"]
    assert first["scheduler"] == second["scheduler"] == 35
    run = next(path for path in (tmp_path / "checkpoints").iterdir() if path.is_dir())
    whole, parts = ({path.name for path in folder.glob("*.pt")} for folder in (run, run / "rank-1"))
    assert whole
    assert whole <= parts


def in_torchs_format(rank: int, folder: Path) -> dict[str, Any]:
    training = Sharded(rank)
    store = DistributedCheckpoints(folder / "checkpoints")
    hook = training.attach(mode="act", checkpoints=store, synchronous=False)
    said: dict[str, Any] = {"run": str(hook.run_id)}
    kept: dict[int, list[Tensor]] = {}
    for step in hook.steps(60):
        if step % 10 == 0 and hook.attempt == 0:
            kept[step] = training.whole()
            # Not synchronous: the quiet that confirms a checkpoint takes the delivery thread's time.
            assert store.wait(60)
        if step == 50 and rank == 0:
            keeper = hook._training.keeper
            assert keeper is not None
            keeper.confirm(49)
            good = next(one for one in keeper.reports() if one.step == 30)
            order(hook, Rollback(checkpoint_id=good.checkpoint_id))
        loss = training.gradients()
        training.update()
        outcome = hook.observe(loss)
        if outcome.rolled_back:
            said["to"] = outcome.next_step
            said["restored"] = [torch.equal(old, new) for old, new in zip(kept[outcome.next_step], training.whole())]
            break
    store.wait(60)
    said["parts"] = sorted(path.name for path in next((folder / "checkpoints").glob("step-00000030-*")).iterdir())
    said["weights"] = [tensor.tolist() for tensor in training.whole()]
    return said  # and is killed: the next one takes the run up


def on_fewer_ranks(rank: int, folder: Path) -> dict[str, Any]:
    training = Sharded(rank, ranks=1)
    hook = training.attach(mode="act", checkpoints=DistributedCheckpoints(folder / "checkpoints"), synchronous=False)
    said = {"run": str(hook.run_id), "begins": hook.next_step, "weights": [one.tolist() for one in training.whole()]}
    for _ in hook.steps(hook.next_step + 2):
        loss = training.gradients()
        training.update()
        hook.observe(loss)
    hook.close()
    return said


def test_torchs_own_format_goes_back_and_is_taken_up_on_another_number_of_ranks(tmp_path: Path) -> None:
    said = run_ranks(in_torchs_format, tmp_path)
    assert said[0]["to"] == said[1]["to"] == 30
    assert said[0]["restored"] == said[1]["restored"] == [True] * 4
    assert said[0]["parts"] == [".metadata", "__0_0.distcp", "__1_0.distcp", "rank-0.json", "rank-1.json"]
    (tmp_path / "said-0.json").unlink()
    alone = run_ranks(on_fewer_ranks, tmp_path, ranks=1)[0]
    assert (alone["run"], alone["begins"]) == (said[0]["run"], 30)
    assert alone["weights"] == said[0]["weights"], "resharded: one rank holds what two held"
