"""A person's commands and approvals meet the same fence as every other command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from monitor_server.pipeline import CommandRefused, UnknownRun, approve, decline, order
from monitor_server.storage import commands, incidents
from tests.monitor_server.service import HEALTHY, Service, Trainer, diverge
from trainguard.wire import (
    Command,
    DecisionReport,
    Halt,
    LowerLearningRate,
    Order,
    RerunTest,
    Rollback,
    SaveNow,
    UnknownOrder,
)


def command(service: Service, trainer: Trainer, orders: Sequence[Order], **more: Any) -> Command:
    with service.database.write() as connection:
        return order(
            connection, trainer.run_id, orders=orders, issued_by="ada", now=service.clock(), ttl_seconds=300, **more
        )


def consent(service: Service, trainer: Trainer, decision_id: UUID) -> Command:
    with service.database.write() as connection:
        return approve(connection, trainer.run_id, decision_id, approved_by="ada", now=service.clock(), ttl_seconds=300)


def dissent(service: Service, trainer: Trainer, decision_id: UUID, reason: str = "") -> DecisionReport:
    with service.database.write() as connection:
        return decline(connection, trainer.run_id, decision_id, declined_by="ada", now=service.clock(), comment=reason)


def proposals(service: Service, trainer: Trainer) -> list[DecisionReport]:
    with service.database.read() as connection:
        decided = incidents.decisions_of(connection, trainer.run_id)
    return [one for one in decided if one.verdict == "propose"]


def test_a_persons_command_travels_in_the_receipts_until_it_is_answered(service: Service) -> None:
    service.register(trainer := Trainer())
    service.send(trainer.steps(HEALTHY))
    issued = command(service, trainer, [SaveNow()], reason="Before the holidays.")
    assert (issued.attempt, issued.revision, issued.issued_by) == (0, 0, "ada")
    assert service.receipt(trainer.steps([2.3])).commands == [issued]
    assert service.receipt(trainer.steps([2.3])).commands == [issued]
    assert service.receipt(trainer.obey(issued, [])).commands == []
    with service.database.read() as connection:
        assert [one.state for one in commands.of_run(connection, trainer.run_id, 10)] == ["applied"]


@pytest.mark.parametrize(
    ("orders", "field", "words"),
    [
        ([UnknownOrder(action="teleport")], "orders.0.action", "known are rollback, lower_learning_rate"),
        ([SaveNow(), Rollback(checkpoint_id=uuid4())], "orders.1.checkpoint_id", "choose one of its list"),
        ([LowerLearningRate(factor=0.5), Halt()], "orders.1.action", "halt stands alone"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused_by_name(
    service: Service, orders: list[Order], field: str, words: str
) -> None:
    service.register(trainer := Trainer())
    with pytest.raises(CommandRefused, match=words) as refusal:
        command(service, trainer, orders)
    assert refusal.value.field_path == field


def test_a_rerun_test_is_ordered_of_one_process_and_not_of_several_ranks(service: Service) -> None:
    service.register(alone := Trainer())
    service.register(ranks := Trainer(world_size=2))
    issued = command(service, alone, [RerunTest(times=3)])
    assert service.receipt(alone.steps([2.3])).commands == [issued]
    with pytest.raises(CommandRefused, match="would not make the same passes") as refusal:
        command(service, ranks, [SaveNow(), RerunTest()])
    assert refusal.value.field_path == "orders.1.action"


def test_nobody_commands_a_run_that_is_over_or_only_observed_or_unknown(service: Service) -> None:
    service.register(over := Trainer())
    service.send(over.envelope(state="finished"))
    service.register(observed := Trainer(mode="observe"))
    with pytest.raises(CommandRefused, match="the run is finished"):
        command(service, over, [Halt()])
    with pytest.raises(CommandRefused, match="mode observe"):
        command(service, observed, [Halt()])
    with pytest.raises(UnknownRun):
        command(service, Trainer(), [Halt()])


def test_one_command_at_a_time(service: Service) -> None:
    service.register(trainer := Trainer())
    first = command(service, trainer, [SaveNow()])
    with pytest.raises(CommandRefused, match=str(first.command_id)):
        command(service, trainer, [SaveNow()])
    service.clock.now += 301
    command(service, trainer, [SaveNow()])


def test_an_approved_proposal_goes_the_way_of_every_command(service: Service) -> None:
    trainer = Trainer(mode="advise")
    receipt, known = diverge(service, trainer)
    assert receipt.commands == []
    [proposal] = proposals(service, trainer)
    issued = consent(service, trainer, proposal.decision_id)
    assert issued.orders == proposal.orders
    assert service.receipt(trainer.steps([13.0])).commands == [issued]
    service.send(trainer.obey(issued, known))
    service.send(trainer.steps(HEALTHY[200:] * 2))
    with service.database.read() as connection:
        [told] = incidents.listing(connection, kinds=["divergence"])
        approval = incidents.decision(connection, trainer.run_id, issued.decision_id or uuid4())
    assert (told.incident.state, told.incident.rung) == ("resolved", 1)
    assert approval is not None
    assert (approval.decided_by, approval.verdict) == ("person", "act")
    assert approval.reason.startswith("ada approved: Would do in mode act")


def test_what_does_not_stand_any_more_cannot_be_approved(service: Service) -> None:
    trainer = Trainer(mode="advise")
    diverge(service, trainer)
    [proposal] = proposals(service, trainer)
    with pytest.raises(CommandRefused, match="no decision on this run"):
        consent(service, trainer, uuid4())
    service.clock.now += 1
    issued = consent(service, trainer, proposal.decision_id)
    with pytest.raises(CommandRefused, match="on its way already"):
        consent(service, trainer, proposal.decision_id)
    service.clock.now += 1
    service.send(trainer.envelope(acknowledgements=[trainer.refuse(issued)]))
    with pytest.raises(CommandRefused, match="a later decision"):
        consent(service, trainer, proposal.decision_id)
    approval = issued.decision_id
    assert approval is not None
    with pytest.raises(CommandRefused, match="its verdict is act"):
        consent(service, trainer, approval)
    assert len(proposals(service, trainer)) == 2, "after the refusal it proposed again"


def test_an_incident_that_healed_leaves_nothing_to_approve(service: Service) -> None:
    trainer = Trainer(mode="advise")
    diverge(service, trainer)
    [proposal] = proposals(service, trainer)
    service.send(trainer.steps([2.3] * 400))
    with pytest.raises(CommandRefused, match="not open any more"):
        consent(service, trainer, proposal.decision_id)


def test_an_expired_proposal_cannot_be_approved_and_the_next_one_can(service: Service) -> None:
    trainer = Trainer(mode="advise")
    diverge(service, trainer)
    [proposal] = proposals(service, trainer)
    assert proposal.expires_at == service.clock() + 3600
    service.clock.now += 3601
    with pytest.raises(CommandRefused, match="expired 1 s ago"):
        consent(service, trainer, proposal.decision_id)
    service.send(trainer.steps([13.0]))
    [_, renewed] = proposals(service, trainer)
    assert consent(service, trainer, renewed.decision_id).orders == renewed.orders


def test_a_declined_proposal_stays_declined_while_nothing_changes(service: Service) -> None:
    trainer = Trainer(mode="advise")
    diverge(service, trainer)
    [proposal] = proposals(service, trainer)
    service.clock.now += 1
    refusal = dissent(service, trainer, proposal.decision_id, reason="The data is known to be odd here.")
    assert (refusal.decided_by, refusal.verdict, refusal.orders) == ("person", "nothing", ())
    assert refusal.reason.startswith("Nothing, because ada declined: The data is known to be odd here")
    service.send(trainer.steps([13.0] * 5))
    assert len(proposals(service, trainer)) == 1
    with service.database.read() as connection:
        [told] = incidents.listing(connection, kinds=["divergence"])
    assert told.incident.state == "open"
    with pytest.raises(CommandRefused, match="a later decision"):
        consent(service, trainer, proposal.decision_id)
    with pytest.raises(CommandRefused, match="its verdict is nothing"):
        dissent(service, trainer, refusal.decision_id)
    with pytest.raises(UnknownRun):
        dissent(service, Trainer(), proposal.decision_id)
