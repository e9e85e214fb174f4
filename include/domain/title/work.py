"""Keys of what a title leaves in the store while it is worked on.

Layout of a work folder (``work/<title_id>/<run_key>/``, :attr:`TitleJob.work`)::

    jobs/<task>[.<item>].json       the task's job document
    <stage>[.<item>].json           a finished stage's result
    renditions/  mezzanine/         media whose names or records tell what they are made from
    format<n>/                      of workers of that format alone:
        errors/<task>[.<item>].json     the failure of the last attempt
        progress/<task>[.<item>].json   share done and a line for people
        usage/<task>[.<item>].json      what the last worker used
        audio/  text/  images/  package/  first_package/   media, written by the stages

``item`` is the name of an encode job, for a task that runs once per job. Results of an edition before the complete one
have its name in front: ``first_<stage>.json``.

A worker of an older release may outlive its task, whose run has begun again under a newer one. What it still writes and
deletes is beneath the folder of its own format, and its result is refused (:func:`include.pipelines.runner.run_task`):
nothing of the newer release's is written over.
"""

from __future__ import annotations

from include.domain.title.title import TitleJob

FORMAT = 3
"""Of the documents in a work folder. It goes up when code of before could not read them, or this code not those of
before: a run that was begun with another format begins again (``include/services/upgrade.py``). Format 1 is that of all
releases up to 0.1; its documents do not say so.
"""


def result_key(title: TitleJob, stage: str, item: str | None = None) -> str:
    """Store key of a stage's result."""
    return f"{title.work}/{label_of(stage, item)}.json"


def job_key(title: TitleJob, task: str, item: str | None = None) -> str:
    """Store key of a task's job document."""
    return f"{title.work}/jobs/{label_of(task, item)}.json"


def own_folder(title: TitleJob) -> str:
    """The folder for what a stage or a worker of this format writes while its task runs."""
    return f"{title.work}/format{FORMAT}"


def progress_folder(title: TitleJob) -> str:
    """The folder of all that :func:`progress_key` names."""
    return f"{own_folder(title)}/progress"


def error_key(title: TitleJob, task: str, item: str | None = None) -> str:
    """Store key of the failure of a task's last attempt."""
    return f"{own_folder(title)}/errors/{label_of(task, item)}.json"


def progress_key(title: TitleJob, task: str, item: str | None = None) -> str:
    """Store key of how far a task is."""
    return f"{progress_folder(title)}/{label_of(task, item)}.json"


def usage_key(title: TitleJob, task: str, item: str | None = None) -> str:
    """Store key of what a task's last worker used: a :class:`include.domain.outcome.results.WorkerUsage`."""
    return f"{own_folder(title)}/usage/{label_of(task, item)}.json"


def label_of(name: str, item: str | None) -> str:
    """``<name>``, or ``<name>.<item>`` where it is done once per job."""
    return name if item is None else f"{name}.{item}"
