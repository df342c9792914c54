"""From files to runs: sparse rows, restarts, late tellers, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainguard.replay import LogUnreadable, logs_in, read_log


def written(folder: Path, text: str, name: str = "run.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_sparse_rows_of_one_step_are_one_point(tmp_path: Path) -> None:
    run = read_log(written(tmp_path, "step,loss,val_loss,lr\n0,,,0.1\n0,2.0,,\n0,,2.5,\n1,1.9,,0.1\n"))
    assert [dict(one.signals) for one in run.observations()] == [
        {"learning_rate": 0.1, "loss": 2.0, "val_loss": 2.5},
        {"learning_rate": 0.1, "loss": 1.9},
    ]


def test_steps_that_go_back_begin_an_attempt(tmp_path: Path) -> None:
    rows = [*range(10), *range(5, 12)]
    run = read_log(written(tmp_path, "step,loss\n" + "".join(f"{step},2.0\n" for step in rows)))
    assert [(one.attempt, one.step) for one in run.observations()][8:12] == [(0, 8), (0, 9), (1, 5), (1, 6)]
    assert [run.attempt_of(index) for index in (0, 9, 10, 16)] == [0, 0, 1, 1]
    assert run.notes == ["The steps go back once: read as a restarted run."]


def test_an_evaluation_that_comes_late_belongs_to_its_step(tmp_path: Path) -> None:
    lines = [f'{{"step": {step}, "loss": 2.0}}\n' for step in range(20)]
    lines += ['{"step": 10, "val_loss": 2.5}\n', '{"step": 20, "loss": 2.0}\n']
    run = read_log(written(tmp_path, "".join(lines), "run.jsonl"))
    assert len(run) == 21
    assert run.columns["val_loss"].get(10) == 2.5
    assert run.columns["val_loss"].get(11) is None


def test_rows_without_a_step_column_are_counted(tmp_path: Path) -> None:
    run = read_log(written(tmp_path, "epoch,loss\n0,2.0\n1,1.9\n"))
    assert list(run.steps) == [0, 1]
    assert run.notes == ["It has no column of steps: its rows are counted instead."]


def test_a_repeated_row_is_counted_and_the_last_one_holds(tmp_path: Path) -> None:
    run = read_log(written(tmp_path, "step,loss\n0,2.0\n1,1.9\n1,1.8\n2,1.7\n"))
    assert [one.signals["loss"] for one in run.observations()] == [2.0, 1.8, 1.7]
    assert run.notes == ["1 records tell a step again that was told before; the last one counts."]


def test_headers_comments_and_other_separators_are_understood(tmp_path: Path) -> None:
    run = read_log(written(tmp_path, "# made by hand\nstep;loss\n0;2.0\n# a pause\nstep;loss\n1;1.9\n"))
    assert [one.signals["loss"] for one in run.observations()] == [2.0, 1.9]
    run = read_log(written(tmp_path, "\ufeffstep\tloss\n0\t2.0\n", "run.tsv"))
    assert list(run.steps) == [0]


def test_a_list_and_columns_are_understood_as_json(tmp_path: Path) -> None:
    listed = read_log(written(tmp_path, '[\n{"step": 0, "loss": 2.0},\n{"step": 1, "loss": NaN}\n]', "a.json"))
    columns = read_log(written(tmp_path, '{"step": [0, 1], "loss": [2.0, "inf"], "note": "x"}', "b.json"))
    assert list(listed.steps) == list(columns.steps) == [0, 1]


def test_several_event_files_of_a_folder_are_one_run(tmp_path: Path) -> None:
    recorded = Path(__file__).parent / "recorded" / "events.out.tfevents.simple_values"
    for name in ("events.out.tfevents.1.host", "events.out.tfevents.2.host"):
        (tmp_path / name).write_bytes(recorded.read_bytes())
    [parts] = logs_in(tmp_path)
    run = read_log(parts)
    assert (run.path, len(run), run.attempts) == (tmp_path, 80, [0, 40])
    assert sum(run.columns["val_loss"].measured) == 8


def test_scalars_written_as_tensors_are_read(tmp_path: Path) -> None:
    run = read_log(Path(__file__).parent / "recorded" / "events.out.tfevents.tensors")
    assert len(run) == 40
    assert [round(one.signals["loss"], 3) for one in run.observations()][:4] == [2.0, 2.05, 2.1, 2.15]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.csv", "step,loss\n", "run.csv: it holds no steps; give a log"),
        ("run.csv", "0,2.0\n1,1.9\n", "run.csv, line 1: the first line holds numbers, not names"),
        ("run.csv", "step,loss\n0,2.0\n1,oops\n", "run.csv, line 3: loss is 'oops', which is no number; correct it"),
        ("run.csv", "step,loss\nfirst,2.0\n", "run.csv, line 2: the step is 'first', which is no number"),
        ("run.csv", "step,loss\n-3,2.0\n", "run.csv, line 2: the step is '-3'; a whole number of at least 0"),
        ("run.csv", "step,loss\n0,2,5\n", "run.csv, line 2: it has 3 cells for 2 columns"),
        ("run.csv", "step,accuracy\n0,0.5\n", "no column looks like a loss; it has 'step', 'accuracy'. Name it with"),
        ("run.csv", "step,a_loss,b_loss\n0,1,2\n", "Name it with --column loss=NAME"),
        ("run.csv", "step,loss\n0,\n1,\n", "it holds no number in the columns that were chosen: step=step, loss=loss"),
        ("run.csv", "step,loss\n" + "5,2.0\n4,2.0\n" * 2000, "the steps go back for the 1000th time"),
        ("run.jsonl", '{"step": 0, "loss": 2}\n{"step": 1, "lo\n{"step": 2, "loss": 2}\n', "line 2: it is no JSON"),
        ("run.jsonl", '{"step": 0, "loss": 2}\n[3]\n', "line 2: it holds list instead of an object"),
        ("run.json", "[[2, 3], [4, 5]]", "entry 1: it is list instead of an object"),
        ("run.json", '[{"step": 0, "loss": 2}, 7]', "entry 2: it is int instead of an object"),
        ("run.json", '{"name": "x",\n "seed": 3}', "no column looks like a loss; it has 'name', 'seed'"),
        ("trainer_state.json", '{"epoch": 1}', "it has no list 'log_history'"),
        ("run.jsonl", 'INFO starting\n{"step": 0, "loss": 2}\n', "it is no JSON (Expecting value: line 1 column 1"),
        ("notes.txt", "dear diary\n", "its format is not known; what can be read: "),
    ],
    ids=["header-only", "no-header", "word", "word-step", "negative-step", "decimal-comma", "no-loss", "two-losses",
         "all-empty", "disorder", "damaged-line", "list-line", "lists", "odd-entry", "no-log", "no-history", "foreign",
         "diary"],
)  # fmt: skip
def test_what_is_wrong_is_said_with_place_and_remedy(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(LogUnreadable) as raised:
        read_log(written(tmp_path, text, name))
    assert message in str(raised.value)


def test_files_that_are_not_there_or_damaged_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(LogUnreadable, match="no such file"):
        read_log(tmp_path / "nothing.csv")
    with pytest.raises(LogUnreadable, match="this folder holds no log"):
        logs_in(tmp_path)
    broken = tmp_path / "run.csv.gz"
    broken.write_bytes(b"\x1f\x8b\x08broken")
    with pytest.raises(LogUnreadable, match="damaged gzip"):
        read_log(broken)
    latin = tmp_path / "latin.csv"
    latin.write_bytes(b"step,loss\n0,2.0\n1,caf\xe9\n")
    with pytest.raises(LogUnreadable, match="line 3: it is no text in UTF-8"):
        read_log(latin)


def test_named_columns_must_be_there(tmp_path: Path) -> None:
    path = written(tmp_path, "t,ce\n0,2.0\n1,1.9\n")
    assert len(read_log(path, {"step": "t", "loss": "ce"})) == 2
    with pytest.raises(LogUnreadable, match="no column for loss=nll; it has 't', 'ce'"):
        read_log(path, {"loss": "nll"})


def test_a_comma_may_be_the_decimal_point_where_it_parts_no_columns(tmp_path: Path) -> None:
    run = read_log(written(tmp_path, "step;loss;lr\n0;2,5;1e-3\n1;2,25;1,5e-3\n"))
    assert list(run.columns["loss"].values) == [2.5, 2.25]
    assert list(run.columns["learning_rate"].values) == [1e-3, 1.5e-3]
    with pytest.raises(LogUnreadable, match="line 2: loss is '1,000,5'"):
        read_log(written(tmp_path, "step;loss\n0;1,000,5\n"))


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss,loss\n0,2.0,5.0\nstep,loss,loss\n1,1.9,5.1\n")
    assert list(read_log(path).columns["loss"].values) == [2.0, 1.9]
    assert list(read_log(path, {"loss": "loss.1"}).columns["loss"].values) == [5.0, 5.1]


@pytest.mark.parametrize("end", ["2", "2,1.", "2,1.8,", "2,1.8,1e", "2,1.8,1e-", "2,1.8,-"])
def test_a_last_row_that_breaks_off_is_passed_over(tmp_path: Path, end: str) -> None:
    rows = "step,loss,lr\n0,2.0,1e-3\n1,1.9,1e-3\n"
    broken = read_log(written(tmp_path, rows + end))
    assert list(broken.steps)[:2] == [0, 1]
    assert not (len(broken) == 3 and broken.columns["learning_rate"].measured[2])
    # A whole file often lacks its last newline, and a whole row may leave cells out.
    assert len(read_log(written(tmp_path, rows + "2,1.8,1e-3"))) == 3
    assert len(read_log(written(tmp_path, rows + "2,1.8\n"))) == 3


def test_a_loss_that_is_empty_to_the_end_is_told_of(tmp_path: Path) -> None:
    lines = [f'{{"step": {step}, "loss": {2.0 if step < 40 else "null"}}}\n' for step in range(60)]
    [note] = read_log(written(tmp_path, "".join(lines), "run.jsonl")).notes
    assert note.startswith("In the last 20 records 'loss' is empty.")
    # Sparse rows are no such thing, nor is an evaluation at the end.
    sparse = "".join(f"{step},{2.0 if step % 5 == 0 else ''},1.0\n" for step in range(64))
    assert read_log(written(tmp_path, "step,loss,grad_norm\n" + sparse)).notes == []
    ends = "".join(f"{step},2.0,\n" for step in range(64)) + "63,,2.1\n63,,2.2\n"
    assert not any("is empty" in note for note in read_log(written(tmp_path, "step,loss,val_loss\n" + ends)).notes)


def test_a_folder_of_folders_says_where_the_logs_are(tmp_path: Path) -> None:
    for version in range(7):
        (tmp_path / f"version_{version}").mkdir()
        written(tmp_path / f"version_{version}", "epoch,step,loss\n0,0,2.0\n", "metrics.csv")
    with pytest.raises(LogUnreadable, match=r"there are some in .*version_0, .*version_4 and 2 more; name those"):
        logs_in(tmp_path)
