"""An incident says by how much its forerunners ran ahead of the loss."""

from __future__ import annotations

from tests.detectors.streams import feed_panel, healthy, scaled
from trainguard.detectors import Panel


def test_a_spike_that_the_gradient_announced_carries_its_lead() -> None:
    stream = scaled(scaled(healthy(), 297, 302, grad_norm=40.0), 300, 302, loss=4.0)

    findings = [one for one in feed_panel(Panel(), stream) if one.kind == "loss_spike"]

    assert findings[0].evidence["loss_onset_step"] == 300
    assert findings[0].evidence["lead_grad_norm"] == findings[0].evidence["lead_steps"] == 3
    assert findings[0].onset_step == 297


def test_a_spike_without_forerunner_has_a_lead_of_nothing() -> None:
    [finding, *_] = feed_panel(Panel(), scaled(healthy(), 300, 302, loss=4.0))

    assert finding.evidence["lead_steps"] == 0
    assert "lead_grad_norm" not in finding.evidence


def test_rows_saved_by_an_older_version_are_taken_back() -> None:
    panel = Panel()
    stream = healthy()
    feed_panel(panel, stream[:200])
    state = panel.state_dict()
    rows = state["rows"]
    assert isinstance(rows, list)
    state["rows"] = [row[:5] for row in rows if isinstance(row, list)]

    again = Panel()
    again.load_state_dict(state)

    assert feed_panel(again, stream[200:]) == feed_panel(panel, stream[200:])
