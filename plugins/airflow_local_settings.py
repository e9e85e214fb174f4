"""Airflow imports this module by name. A deployment's own copy in ``config/`` shadows it: the health check tells."""

from include.orchestration.weights import watch_resumptions, weigh

watch_resumptions()


def task_instance_mutation_hook(task_instance, dag_run=None):  # type: ignore[no-untyped-def]  # pluggy reads the bare names
    """Airflow's hook, called for each task instance that is created, expanded or verified."""
    weigh(task_instance, dag_run)
