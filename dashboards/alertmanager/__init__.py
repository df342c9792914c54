"""Alertmanager's routes (``alertmanager.yml``) and a sink that prints what it is sent.

A route or an inhibition is a few lines of YAML here and a case in tests/dashboards; receivers that hold a
secret do not belong into this repository.
"""
