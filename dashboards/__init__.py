"""What other programs need to watch trainguard: Prometheus rules, Alertmanager routes, Grafana dashboards.

Nothing here is imported by the packages and nothing here imports them; the only contract is the names of the
metrics that the service serves at ``/metrics`` (docs/monitoring.md lists them). To add an alert: a rule in
``prometheus/rules``, a case in ``prometheus/tests``, a heading in docs/monitoring.md.
"""
