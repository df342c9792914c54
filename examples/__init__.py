"""Small trainings with the hook attached, each runnable as it stands: ``python -m examples.minimal``.

The three loop shapes are `examples.minimal` (``for step in hook.steps(n)``), `examples.while_loop` and
`examples.epoch_loop`; `examples.char_gpt` is the training behind ``make demo``. What lives here teaches, so it
may use the public surface of `client_hook` and the service's HTTP interface only. To add one, add a file that
runs in seconds, and a test of it under ``tests/examples``.
"""
