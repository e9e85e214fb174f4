"""Weights of a title's tasks within one priority, by Airflow's ids: what is nearly done goes first."""

from __future__ import annotations

STEPS = {
    "prepare": 1,
    "plan": 9,
    "encode_cpu": 2,
    "encode_gpu": 2,
    "encode_rest_cpu": 2,
    "encode_rest_gpu": 2,
    "extras": 3,
    "first_finish": 6,
    "first_publish": 9,
    "finish": 6,
    "publish": 9,
    "settle": 9,
}


def step(task_id: str) -> int:
    """The weight that the operator of ``task_id`` brings along; a task that says nothing has the least."""
    return STEPS.get(task_id, 1)
