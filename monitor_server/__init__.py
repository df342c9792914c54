"""The service: it stores what trainers report, judges it with the shared brain, and answers with commands.

`app` is the composition root. `api` and `web` are the doors, `pipeline` is the way of one envelope, `live` the
memory of each running run, `storage` the truth, `notifiers` tell people, `housekeeping` does the chores that
no envelope would trigger. Nothing here needs torch, and nothing here ever dials a trainer.
"""
