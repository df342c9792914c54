"""Grafana dashboards as Python: one file per dashboard, one line each in ``generate.DASHBOARDS``.

``vocabulary`` holds what they share. The JSON under ``dashboards/`` is generated (``python -m
dashboards.grafana.generate``) and checked in, because Grafana reads files and people read diffs; it is never
edited by hand. Queries stand on the raw metrics, not on the recording rules, so that a dashboard also works in
a Prometheus that does not load them.
"""
