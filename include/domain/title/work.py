"""Keys of what a title leaves in the store while it is worked on.

Layout of a work folder (``work/<title_id>/<run_key>/``, :attr:`TitleJob.work`)::

    jobs/<task>[.<item>].json       the task's job document
    <stage>[.<item>].json           a finished stage's result
    errors/<task>[.<item>].json     the failure of the last attempt
    progress/<task>[.<item>].json   share done and a line for people
    usage/<task>[.<item>].json      what the last worker used
    renditions/  audio/  text/  images/  package/  first_package/   media, written by the stages

``item`` is the name of an encode job, for a task that runs once per job. Results of an edition before the complete one
have its name in front: ``first_<stage>.json``.
"""

from __future__ import annotations

from include.domain.title.title import TitleJob

FORMAT = 2
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


def error_key(title: TitleJob, task: str, item: str | None = None) -> str:
    """Store key of the failure of a task's last attempt."""
    return f"{title.work}/errors/{label_of(task, item)}.json"


def progress_key(title: TitleJob, task: str, item: str | None = None) -> str:
    """Store key of how far a task is."""
    return f"{title.work}/progress/{label_of(task, item)}.json"


def usage_key(title: TitleJob, task: str, item: str | None = None) -> str:
    """Store key of what a task's last worker used: a :class:`include.domain.outcome.results.Cost`."""
    return f"{title.work}/usage/{label_of(task, item)}.json"


def label_of(name: str, item: str | None) -> str:
    """``<name>``, or ``<name>.<item>`` where it is done once per job."""
    return name if item is None else f"{name}.{item}"
