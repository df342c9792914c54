"""Causes outside the model: ranks, input pipeline, hardware."""

from __future__ import annotations

from trainguard.policy.diagnosis.symptoms import Symptoms, known
from trainguard.wire import Hypothesis


def ranks_disagree(symptoms: Symptoms) -> Hypothesis | None:
    """One rank that differs spoils the mean of all."""
    if symptoms.kind != "rank_disagreement":
        return None
    return Hypothesis(
        cause="rank_disagrees",
        support="strong",
        statement="One rank computes something else than the others.",
        evidence=known(symptoms.incident.summary),
        next_step=(
            "Compare parameter checksums between ranks. Equal parameters: look at that rank's shard of the data. "
            "Different ones: a collective was left out, or its device is faulty; run the device's memory test."
        ),
    )


def data_is_late(symptoms: Symptoms) -> Hypothesis | None:
    """The step waits for its batch."""
    wait, step = symptoms.number("data_wait_seconds_at"), symptoms.number("step_seconds_at")
    if symptoms.kind != "slow_step" or wait is None or not step or wait < 0.3 * step:
        return None
    return Hypothesis(
        cause="data_starvation",
        support="strong",
        statement="The training waits for its data.",
        evidence=(f"{100 * wait / step:.0f} % of a step's {step:.3g} s is waiting for the batch.",),
        next_step="More loader workers, prefetching and pinned memory; see whether the storage or its network is slow.",
    )


def machine_is_slow(symptoms: Symptoms) -> Hypothesis | None:
    """Throttling, a neighbour, memory that is nearly full, or a checkpoint being written."""
    if symptoms.kind != "slow_step":
        return None
    return Hypothesis(
        cause="machine_slow",
        support="some",
        statement="The machine has become slower: throttling, a neighbour on it, swapping, or a write in the loop.",
        evidence=known(symptoms.incident.summary, symptoms.change("step_seconds", "A step's time in seconds")),
        next_step="Look at clocks, temperature and memory of the device, at other processes, and at what runs every so "
        "many steps (evaluation, saving, logging).",
    )


def process_is_gone(symptoms: Symptoms) -> Hypothesis | None:
    """No word from the trainer."""
    if symptoms.kind != "silent":
        return None
    return Hypothesis(
        cause="trainer_silent",
        support="some",
        statement="The trainer was killed, hangs in a collective, or has lost its network.",
        evidence=known(symptoms.incident.summary),
        next_step="See whether the process lives (py-spy dump shows where it hangs), look for the out-of-memory killer "
        "and the scheduler's pre-emption, then start it again: it goes on from its journal.",
    )
