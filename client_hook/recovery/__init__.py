"""The hands: everything that may change a training, and the one place per step where it may.

`step_boundary` is that place; `actions` are what it may do, one file each, table ACTIONS; `keeper` takes and
judges checkpoints through `checkpoints/`; `snapshot` knows what a training consists of; `learning_rate` holds
the multiplier, `update_guard` the pre-update guard, `journal` what must outlive the process. Deciding does not
live here: commands come from the service or the local brain. A new action is a file in `actions` and a line in
its table.
"""
