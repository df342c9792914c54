"""From an incident to a message that arrived, on both databases, over real HTTP."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import get_args
from uuid import uuid4

import pytest

from monitor_server.notifiers import NOTIFIERS, Courier
from monitor_server.notifiers.courier import GIVE_UP_AFTER_SECONDS, HOLD_SECONDS
from monitor_server.notifiers.signature import is_genuine
from monitor_server.receivers import Kind
from monitor_server.storage import notifications, silences
from tests.monitor_server.notifiers.receiver import Receiver, receiving
from tests.monitor_server.service import HEALTHY, Service, Trainer, diverge


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


class Post:
    """A service whose webhook leads to the receiver, and a courier that goes when it is told."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.outcomes: list[str] = []
        self.courier = self.another_courier()

    def another_courier(self) -> Courier:
        service = self.service
        return Courier(service.database, service.settings, clock=service.clock, on_outcome=self.outcomes.append)

    def fates(self, trainer: Trainer) -> list[tuple[str, int]]:
        with self.service.database.read() as connection:
            return [(one["state"], one["tries"]) for one in notifications.of_run(connection, trainer.run_id, 100)]

    def due_in(self, trainer: Trainer) -> float:
        with self.service.database.read() as connection:
            [letter] = notifications.of_run(connection, trainer.run_id, 100)
        return float(letter["due_at"]) - self.service.clock()


@pytest.fixture
def post(serve: Callable[..., Service], receiver: Receiver) -> Iterator[Post]:
    post = Post(serve(webhook_url=receiver.url, webhook_secret="s3cret", public_url="https://guard.example"))
    yield post
    post.courier.stop()


def trouble(service: Service, **description: str) -> Trainer:
    """A run with one message to be told."""
    trainer = Trainer(**description)
    diverge(service, trainer, pieces=40)
    return trainer


def test_every_kind_of_receiver_has_its_notifier() -> None:
    assert set(get_args(Kind)) == set(NOTIFIERS)


def test_an_incident_is_told_once(post: Post, receiver: Receiver) -> None:
    trainer = trouble(post.service)
    assert post.courier.deliver_due() == 1
    assert post.courier.deliver_due() == 0
    [message] = receiver.messages
    assert (message["event"], message["project"], message["run"]) == ("opened", "demo", "char-gpt")
    incident = message["incident"]["incident_id"]
    assert message["link"] == f"https://guard.example/runs/{trainer.run_id}/incidents/{incident}"
    assert message["incident"]["kind"] == "divergence"
    assert message["decision"]["verdict"] == "act"
    assert message["text"].startswith("[demo/char-gpt] opened: ")
    assert post.fates(trainer) == [("sent", 1)]
    assert post.outcomes == ["delivered"]


def test_it_is_signed(post: Post, receiver: Receiver) -> None:
    trouble(post.service)
    post.courier.deliver_due()
    now = post.service.clock()
    expected = hmac.new(b"s3cret", f"{now:.0f}.".encode() + receiver.bodies[0], hashlib.sha256).hexdigest()
    headers = receiver.headers[0]
    assert headers["x-trainguard-signature-256"] == f"sha256={expected}"
    assert is_genuine(receiver.bodies[0], headers, b"s3cret", now=now)
    assert not is_genuine(receiver.bodies[0], headers, b"s3cret", now=now + 301), "sent again by somebody else"


def test_what_did_not_arrive_is_tried_again_later_and_later(post: Post, receiver: Receiver) -> None:
    trainer = trouble(post.service)
    receiver.answers = [(500, {}), (503, {}), (429, {"retry-after": "120"}), (200, {})]
    pauses = []
    for _ in range(3):
        assert post.courier.deliver_due() == 1
        assert post.courier.deliver_due() == 0
        pauses.append(post.due_in(trainer))
        post.service.clock.now += pauses[-1]
    assert post.courier.deliver_due() == 1
    assert pauses == [5, 10, 120]
    assert len({message["notification_id"] for message in receiver.messages}) == 1
    assert post.fates(trainer) == [("sent", 4)]
    assert post.outcomes == ["failed", "failed", "failed", "delivered"]


@pytest.mark.parametrize(("status", "word"), [(404, "404"), (302, "moved to 127.0.0.1")])
def test_what_will_never_be_accepted_is_given_up_at_once(
    post: Post, receiver: Receiver, status: int, word: str
) -> None:
    trainer = trouble(post.service)
    receiver.answers = [(status, {"location": "http://127.0.0.1:9/"})]
    post.courier.deliver_due()
    assert post.fates(trainer) == [("abandoned", 1)]
    with post.service.database.read() as connection:
        assert word in notifications.of_run(connection, trainer.run_id, 1)[0]["last_error"]
        assert notifications.counts_by_state(connection) == {"abandoned": 1}


def test_a_receiver_that_is_away_is_tried_for_a_day(serve: Callable[..., Service]) -> None:
    post = Post(serve(webhook_url="http://127.0.0.1:9/hook"))
    trainer = trouble(post.service)
    begun = post.service.clock.now
    while post.fates(trainer)[0][0] == "pending":
        assert post.courier.deliver_due() == 1
        post.service.clock.now += max(0.0, post.due_in(trainer))
    assert 0 <= post.service.clock.now - begun - GIVE_UP_AFTER_SECONDS < 1000
    assert 90 < post.fates(trainer)[0][1] < 120
    post.courier.stop()


def test_a_courier_that_dies_with_a_message_in_hand_loses_nothing(post: Post, receiver: Receiver) -> None:
    trainer = trouble(post.service)
    with post.service.database.write() as connection:
        assert len(notifications.claim(connection, post.service.clock(), hold_seconds=HOLD_SECONDS)) == 1
    assert post.courier.deliver_due() == 0, "somebody has it in hand"
    post.service.clock.now += HOLD_SECONDS
    assert post.another_courier().deliver_due() == 1
    assert post.fates(trainer) == [("sent", 1)]
    assert len(receiver.messages) == 1


def test_a_message_for_a_notifier_that_is_gone_is_given_up(post: Post, serve: Callable[..., Service]) -> None:
    trainer = trouble(post.service)
    without = Post(serve())
    without.courier.deliver_due()
    assert post.fates(trainer) == [("abandoned", 1)]


def test_a_silenced_run_is_not_told_of_but_decided_on(post: Post) -> None:
    trainer = Trainer()
    post.service.register(trainer)
    now = post.service.clock()
    with post.service.database.write() as connection:
        silences.add(connection, silences.Silence(uuid4(), now, now + 3600, "ada", "I know.", run_id=trainer.run_id))
    receipt, _ = diverge(post.service, trainer)
    assert len(receipt.commands) == 1
    assert post.fates(trainer) == []


def test_a_proposal_asks_for_approval(post: Post, receiver: Receiver) -> None:
    trouble(post.service, mode="advise")
    post.courier.deliver_due()
    assert "needs_approval" in {message["event"] for message in receiver.messages}
    told = next(message for message in receiver.messages if message["event"] == "needs_approval")
    assert told["decision"]["verdict"] == "propose"


def test_each_state_of_an_incident_is_told_once_and_its_recovery_too(post: Post, receiver: Receiver) -> None:
    trainer = Trainer()
    receipt, checkpoints = diverge(post.service, trainer)
    post.service.send(trainer.obey(receipt.commands[0], checkpoints))
    for _ in range(30):
        post.service.send(trainer.steps(HEALTHY[:40]))
    while post.courier.deliver_due():
        pass
    first = receiver.messages[0]["incident"]["incident_id"]
    told = [message["event"] for message in receiver.messages if message["incident"]["incident_id"] == first]
    assert sorted(told) == ["opened", "recovered"], "that a remedy was applied is told only where a route names it"


def test_the_thread_delivers_by_itself_and_stops_at_once(post: Post, receiver: Receiver) -> None:
    trouble(post.service)
    courier = post.another_courier()
    courier.start()
    assert receiver.arrived.acquire(timeout=30)
    courier.stop()
    assert not courier._thread.is_alive()
