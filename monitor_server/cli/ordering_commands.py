"""`trainguard command RUN …`: a person's own orders to a run, each with its consequence said beforehand."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from monitor_server.cli.asking import DEFAULT_SERVER, AsJson, Asking, By, Server, Token, Yes, confirm, give_up
from monitor_server.cli.printing import print_json, tell_commands

ordering_program = typer.Typer(
    name="command",
    help="Order something of a run, which its trainer does at the next step boundary.",
    no_args_is_help=True,
)

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's name, its id, or how its id begins.")]
Reason = Annotated[str, typer.Option(metavar="WORDS", help="Kept with the command, for others.")]


@ordering_program.callback()
def _of_run(context: typer.Context, run: Run) -> None:
    context.obj = run


@ordering_program.command()
def rollback(
    context: typer.Context,
    checkpoint: Annotated[
        str, typer.Option(metavar="ID", help="How its id begins. [dim]Default: the newest confirmed good one[/]")
    ] = "",
    scale: Annotated[
        float | None, typer.Option(min=0.001, max=1.0, help="Lower the learning rate to this share with it.")
    ] = None,
    reason: Reason = "",
    by: By = "",
    is_sure: Yes = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Go back to a checkpoint: model, optimizer, scheduler and scaler; later steps are abandoned."""
    service = Asking(server, token)
    run_id = service.run_id(context.obj)
    shown = service.get(f"runs/{run_id}")
    target = _checkpoint(service, run_id, checkpoint)
    orders: list[dict[str, Any]] = [{"action": "rollback", "checkpoint_id": target["checkpoint_id"]}]
    lost = "" if shown["step"] is None else f"; {max(0, shown['step'] + 1 - target['step'])} steps are lost"
    consequence = f"{shown['run']} goes back to the {target['state']} checkpoint of step {target['step']}{lost}"
    if scale is not None:
        orders.append({"action": "lower_learning_rate", "factor": scale})
        consequence += f", and its learning rate is multiplied by {scale:g}"
    _order(service, run_id, orders, f"{consequence}.", is_sure, reason, by, as_json)


@ordering_program.command("scale-rate")
def scale_rate(
    context: typer.Context,
    factor: Annotated[float, typer.Argument(min=0.001, max=1000.0, help="0.5 halves it, 2 doubles it.")],
    reason: Reason = "",
    by: By = "",
    is_sure: Yes = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Multiply the learning rate, whatever the schedule does from then on."""
    service = Asking(server, token)
    run_id = service.run_id(context.obj)
    shown = service.get(f"runs/{run_id}")
    now = shown["lr_scale"]
    consequence = f"The learning-rate multiplier of {shown['run']} goes from {now:g} to {now * factor:g}, and stays."
    orders = [{"action": "scale_learning_rate", "factor": factor}]
    _order(service, run_id, orders, consequence, is_sure, reason, by, as_json)


@ordering_program.command()
def pause(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=1.0, max=604_800.0, help="Then it goes on by itself.")] = 3600.0,
    reason: Reason = "",
    by: By = "",
    is_sure: Yes = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Let the training wait; its device stays taken."""
    consequence = (
        f"The training waits for up to {seconds:g} s and keeps its device; end it with: trainguard command RUN resume"
    )
    orders = [{"action": "pause", "seconds": seconds}]
    _order_of(Asking(server, token), context.obj, orders, consequence, is_sure, reason, by, as_json)


@ordering_program.command()
def resume(
    context: typer.Context,
    reason: Reason = "",
    by: By = "",
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """End a pause."""
    _order_of(Asking(server, token), context.obj, [{"action": "resume"}], "", True, reason, by, as_json)


@ordering_program.command()
def save(
    context: typer.Context,
    reason: Reason = "",
    by: By = "",
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Take a checkpoint at the next step boundary."""
    _order_of(Asking(server, token), context.obj, [{"action": "save_now"}], "", True, reason, by, as_json)


@ordering_program.command()
def rerun(
    context: typer.Context,
    times: Annotated[int, typer.Option(min=2, max=16, help="Passes from the present state that are compared.")] = 2,
    reason: Reason = "",
    by: By = "",
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Make the latest batch again and say whether data, state or hardware is behind a trouble; changes nothing.

    The loop must have given a function for it: hook.rerun_with(function). trainguard command RUN list has the verdict.
    """
    orders = [{"action": "rerun_test", "times": times}]
    _order_of(Asking(server, token), context.obj, orders, "", True, reason, by, as_json)


@ordering_program.command()
def halt(
    context: typer.Context,
    reason: Reason = "",
    by: By = "",
    is_sure: Yes = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Stop the training for good, with TrainingHalted in its loop."""
    consequence = "The training ends with TrainingHalted. Nothing is restored, and nothing here starts it again."
    _order_of(Asking(server, token), context.obj, [{"action": "halt"}], consequence, is_sure, reason, by, as_json)


@ordering_program.command("send")
def send(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="skip_update, tighten_clipping, reset_moments, …")],
    parameter: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Its parameters, like max_norm=0.5.")
    ] = None,
    reason: Reason = "",
    by: By = "",
    is_sure: Yes = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Order any action by the name it has in the API, with its parameters."""
    order: dict[str, Any] = {"action": action}
    for one in parameter or ():
        name, is_given, value = one.partition("=")
        if not is_given:
            give_up(f"{one!r} is no parameter; write it like max_norm=0.5", 2)
        order[name] = _number(value)
    told = ", ".join(f"{name} {value}" for name, value in order.items() if name != "action")
    consequence = f"The trainer applies {action}{f' ({told})' if told else ''} at its next step boundary."
    _order_of(Asking(server, token), context.obj, [order], consequence, is_sure, reason, by, as_json)


@ordering_program.command("list")
def list_commands(
    context: typer.Context, server: Server = DEFAULT_SERVER, token: Token = None, as_json: AsJson = False
) -> None:
    """List what was ordered of a run, by whom, what became of it, and what its trainer answered."""
    service = Asking(server, token)
    run_id = service.run_id(context.obj)
    answer = service.get(f"runs/{run_id}/commands")
    if as_json:
        print_json(answer)
        return
    answers = service.get(f"runs/{run_id}/acknowledgements")["acknowledgements"]
    tell_commands(Console(), answer["commands"], answers)


def _order_of(
    service: Asking,
    run: str,
    orders: list[dict[str, Any]],
    consequence: str,
    is_sure: bool,
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    run_id = service.run_id(run)
    name = "" if is_sure else f"{service.get(f'runs/{run_id}')['run']}: "
    _order(service, run_id, orders, f"{name}{consequence}", is_sure, reason, by, as_json)


def _order(
    service: Asking,
    run_id: str,
    orders: list[dict[str, Any]],
    consequence: str,
    is_sure: bool,
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    confirm(consequence, is_sure)
    answer = service.post(f"runs/{run_id}/commands", {"orders": orders, "reason": reason, "issued_by": by})
    if as_json:
        print_json(answer)
        return
    print(f"Command {answer['command_id'][:8]} waits for the trainer. See: trainguard command {run_id[:8]} list")


def _checkpoint(service: Asking, run_id: str, beginning: str) -> dict[str, Any]:
    """The checkpoint whose id begins so, or the newest confirmed good one."""
    known = service.get(f"runs/{run_id}/checkpoints")["checkpoints"]
    if beginning:
        named = [one for one in known if one["checkpoint_id"].startswith(beginning.lower())]
        if len(named) != 1:
            found = "no checkpoint" if not named else f"{len(named)} checkpoints"
            give_up(f"{found} of this run with an id that begins with {beginning!r}; {_steps(known)}")
        return dict(named[0])
    confirmed = [one for one in known if one["state"] == "confirmed"]
    if not confirmed:
        give_up(f"this run has no checkpoint that is confirmed good; name one with --checkpoint: {_steps(known)}")
    return dict(confirmed[-1])


def _steps(known: list[dict[str, Any]]) -> str:
    told = [f"{one['checkpoint_id'][:8]} (step {one['step']}, {one['state']})" for one in known[-5:]]
    return f"it has {', '.join(told)}" if told else "it has none at all"


def _number(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
