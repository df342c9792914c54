"""A run introduces itself, and comes back changed."""

from __future__ import annotations

import pytest

from monitor_server.pipeline import DescriptionRefused, set_playbook
from monitor_server.storage import incidents
from tests.monitor_server.service import DIVERGING, HEALTHY, Service, Trainer, diverge
from trainguard.policy import Playbook


@pytest.mark.parametrize(
    ("playbook", "field"),
    [
        ({"ladders": {"boredom": {"treatment": "advise"}}}, "playbook.ladders"),
        ({"ladders": {}, "probation_steps": 0}, "playbook.probation_steps"),
        ({"ladders": {}, "typo": 1}, "playbook.typo"),
    ],
)
def test_a_playbook_that_makes_no_sense_is_refused_at_registration(
    service: Service, playbook: dict[str, object], field: str
) -> None:
    with pytest.raises(DescriptionRefused) as refusal:
        service.register(Trainer(playbook=playbook))
    assert refusal.value.field_path.startswith(field.rpartition(".")[0])


def test_a_runs_own_playbook_is_the_one_that_is_played(service: Service) -> None:
    playbook = Playbook.default().model_copy(update={"name": "mine", "ladders": {}})
    trainer = Trainer(playbook=playbook.model_dump(mode="json"))
    receipt, _ = diverge(service, trainer)
    assert receipt.commands == []
    assert "no remedy is known to be safe" in receipt.message


def test_a_projects_playbook_reaches_the_trainer_at_its_first_envelope_and_in_trouble(service: Service) -> None:
    told = Playbook.default().model_copy(update={"name": "careful", "probation_steps": 70})
    with service.database.write() as connection:
        set_playbook(connection, "demo", told.model_dump(mode="json"), by="ada", now=service.clock())
    trainer, another, own = (
        Trainer(project="demo"),
        Trainer(project="lab"),
        Trainer(project="demo", playbook={"extends": "safe"}),
    )
    for one in (trainer, another, own):
        service.register(one)
    first = service.receipt(trainer.steps(HEALTHY))
    assert first.playbook is not None
    assert Playbook.model_validate(first.playbook) == told
    assert service.receipt(trainer.steps(HEALTHY[:5])).playbook is None, "once is enough in quiet times"
    again = service.receipt(trainer.steps(DIVERGING)).playbook
    assert again == first.playbook
    assert service.receipt(another.steps(HEALTHY)).playbook == {"extends": "default"}
    assert service.receipt(own.steps(HEALTHY)).playbook is None, "it has brought its own"


def test_a_run_that_comes_back_in_another_mode_is_treated_by_it(service: Service) -> None:
    trainer = Trainer(mode="observe")
    service.register(trainer)
    service.send(trainer.steps(HEALTHY, checkpoints=[trainer.checkpoint(200)]))
    trainer._description["mode"] = "act"
    assert not service.register(trainer)
    assert len(service.receipt(trainer.steps(DIVERGING)).commands) == 1
    with service.database.read() as connection:
        assert len(incidents.listing(connection, kinds=["divergence"])) == 1
