"""A character-level GPT on the source of Python's own standard library, with faults to be rescued from.

`corpus` is the text and its batches, `model` the network, `faults` what goes wrong, `training` the one training
function, and `demo` the story told by ``make demo``: a healthy twin, a run with a fault, and the same run with
the hook. `service`, `story`, `report` and `picture` are the demo's hands. To add a scenario, add a function to
`faults` and a line to its table.
"""
