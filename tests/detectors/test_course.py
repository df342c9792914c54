from __future__ import annotations

import json

from trainguard.detectors.course import CELL, Course


def fed(course: Course, count: int) -> Course:
    for step in range(count):
        course.add(step, float(step))
    return course


def test_blocks_cover_the_whole_run_however_long_it_gets() -> None:
    for count in (64 * CELL, 10_000, 100_000):
        course = fed(Course(), count)

        assert len(course.blocks) < 64
        assert course.points > 0.95 * count
        assert course.blocks == sorted(course.blocks)
        assert course.steps[0] == 0
        assert all(first <= block for first, block in zip(course.steps, course.blocks))


def test_a_single_spike_leaves_no_trace() -> None:
    course = Course()
    for step in range(200):
        course.add(step, 1e9 if step % 20 == 0 else 1.0)

    assert set(course.blocks) == {1.0}


def test_its_state_is_json_and_is_taken_back() -> None:
    course = fed(Course(keep=8), 333)
    again = Course(keep=8)
    again.load_state_dict(json.loads(json.dumps(course.state_dict())))

    for step in range(333, 999):
        assert again.add(step, 1.0) == course.add(step, 1.0)
    assert again.state_dict() == course.state_dict()
