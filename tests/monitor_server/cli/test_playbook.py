"""`trainguard playbook`, as a newcomer runs it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from monitor_server.cli.program import program


def ask(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(program, ["playbook", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_a_good_file_is_said_to_be_good(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: safe\nprobation_steps: 300\n")
    status, said = ask("check", str(path))
    assert status == 0
    assert "'mine' treats divergence, non_finite" in said


def test_a_faulty_file_ends_with_status_1_and_every_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: safe\nprobation_step: 300\nhealed_after_steps: 0\n")
    status, said = ask("check", str(path))
    assert status == 1
    assert "line 2: probation_step: unknown key; did you mean 'probation_steps'?" in said
    assert "line 3: healed_after_steps: Input should be greater than or equal to 1" in said


def test_what_is_shown_can_be_checked(tmp_path: Path) -> None:
    status, text = ask("show", "default", "--yaml")
    assert status == 0
    path = tmp_path / "own.yaml"
    path.write_text(text)
    assert ask("check", str(path))[0] == 0
    assert "4. halt with a report: stop the training with a report" in ask("show")[1]
    assert "roll back" in ask("show", str(path))[1]
