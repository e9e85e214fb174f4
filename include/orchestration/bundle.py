"""The DAG bundle that is fed by the catalog: one small stub file per batch that has not retired.

Stub files are a cache. DAG processor, workers and the task runners of pods on any node each make their own from the
catalog, so no volume is shared (docs/decisions/0002).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from airflow.dag_processing.bundles.base import BaseDagBundle

import include
from include.adapters.catalog import Catalog, Stub
from include.base.settings import load_settings

_TEMPLATE = """\
# Batch {batch_id!r}, generated from the catalog. Code: {code}.
# Airflow's safe mode reads a file only if it names both: airflow, dag.
from include.orchestration.factory import batch_dag

dag = batch_dag(batch_id={batch_id!r}, pipeline={pipeline!r}, pipeline_version={version!r})
"""


class CatalogDagBundle(BaseDagBundle):
    """One stub per unretired batch, written on :meth:`refresh`."""

    supports_versioning = False

    @property
    def path(self) -> Path:
        """Folder of the stubs on this machine."""
        return self.base_dir / "stubs"

    def get_current_version(self) -> None:
        """Batches have no common version: a stub names its pipeline's."""
        return

    def initialize(self) -> None:
        """Write the stubs: a worker needs them as the DAG processor does."""
        self.refresh()
        super().initialize()

    def refresh(self) -> None:
        """Make the folder say what the catalog says. Safe in any number of processes at once."""
        write_stubs(self.path, Catalog(load_settings().catalog_url).batches.stubs)


def write_stubs(folder: Path, stubs: Callable[[], list[Stub]]) -> None:
    """One file per stub, by temporary name and rename; files of batches that are no more are removed.

    The folder is looked at before the catalog is asked: a file that another process writes meanwhile, for a batch that
    is newer than the answer, is left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = list(folder.glob("batch_*.py"))
    wanted = {f"batch_{stub.batch_id}.py": stub_text(stub) for stub in stubs()}
    for name, text in wanted.items():
        target = folder / name
        if _read(target) == text:
            continue
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".stub-")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(temporary).replace(target)
    for stale in before:
        if stale.name not in wanted:
            stale.unlink(missing_ok=True)


def stub_text(stub: Stub) -> str:
    """The file of one batch. Its values come from the request, hence ``repr`` alone."""
    return _TEMPLATE.format(
        batch_id=stub.batch_id, pipeline=stub.pipeline, version=stub.pipeline_version, code=code_fingerprint()
    )


@lru_cache(maxsize=1)
def code_fingerprint() -> str:
    """Changes with every deploy, so that stubs are parsed anew: the DAG processor watches the stub alone."""
    root = Path(next(iter(include.__path__)))
    seen = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        seen.update(path.relative_to(root).as_posix().encode())
        seen.update(path.read_bytes())
    return seen.hexdigest()[:12]


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
