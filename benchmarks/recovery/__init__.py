"""Whether a run that goes wrong comes back: small real trainings, a fault in each, and six ways to meet it.

``python -m benchmarks.recovery`` (``make bench-recovery``) trains every scenario of `scenarios` without a fault, with
it, and with it under every strategy of `strategies`, scores all alike by `scoring`, and writes
``benchmarks/results/recovery.md``, ``.json`` and a picture per scenario. A new scenario is one entry in `SCENARIOS`.
"""
