"""How much of what goes wrong the detectors find, how often they cry wolf, and what they cost; beside other rules.

``make bench-detection CURVES=FOLDER`` reads labelled curves of real runs (not part of this repository), adds faults
of known onset, runs the panel and the published rules in `peers` over the same points, scores all alike, and writes
``benchmarks/results/detection.md``, ``.json`` and, as ``.png``, the trade-off curve of every rule.
"""
