"""What the service bears: one load generator in a process of its own, the same for SQLite and PostgreSQL.

`envelopes` writes the requests beforehand, `load` sends them, `database_servers` and `services` start what is
measured, a file per figure measures it, `report` prints. `python -m benchmarks.server` runs all of it.
"""
