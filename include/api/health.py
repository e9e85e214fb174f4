"""Is this deployment whole? A missing plugin, hook or deadline reference fails silently in Airflow: here it is said."""

from __future__ import annotations

import sys
from typing import Any

from include.adapters.catalog import Catalog
from include.adapters.store.opening import open_store
from include.base.settings import load_settings
from include.orchestration.bundle import CatalogDagBundle
from include.orchestration.deadlines import TitleDeadline
from include.orchestration.weights import watches_resumptions, weigh


def health_report() -> dict[str, Any]:
    """``{"healthy": bool, "checks": {name: "ok" or what is wrong and the way out}}``."""
    checks = {
        "plugin": _plugin(),
        "mutation_hook": _mutation_hook(),
        "deadline_reference": _deadline_reference(),
        "bundle": _bundle(),
        "catalog": _catalog(),
        "store": _store(),
    }
    return {"healthy": all(said == "ok" for said in checks.values()), "checks": checks}


def _plugin() -> str:
    from airflow.plugins_manager import get_import_errors

    broken = {source: text for source, text in get_import_errors().items() if "callsheet" in f"{source}{text}".lower()}
    return "ok" if not broken else f"a plugin did not load: {next(iter(broken.items()))}"


def _mutation_hook() -> str:
    from airflow.settings import task_instance_mutation_hook

    loaded = sys.modules.get("airflow_local_settings")
    hooked = getattr(loaded, "weigh", None) is weigh and not getattr(task_instance_mutation_hook, "is_noop", True)
    if hooked and watches_resumptions():
        return "ok"
    return (
        "airflow_local_settings is not Callsheet's: a config/airflow_local_settings.py comes before plugins/ on the "
        "path; import include.orchestration.weights there, call weigh from task_instance_mutation_hook, and once "
        "watch_resumptions"
    )


def _deadline_reference() -> str:
    from airflow.plugins_manager import get_deadline_references_plugins

    known = get_deadline_references_plugins().values()
    return (
        "ok"
        if TitleDeadline in known
        else "the plugin does not register TitleDeadline: is plugins/ the plugins folder?"
    )


def _bundle() -> str:
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    manager = DagBundlesManager()  # type: ignore[no-untyped-call]  # Airflow leaves its constructor untyped
    bundles = list(manager.get_all_dag_bundles())
    if any(isinstance(bundle, CatalogDagBundle) for bundle in bundles):
        return "ok"
    return "no CatalogDagBundle in [dag_processor] dag_bundle_config_list: batches would never become DAGs"


def _catalog() -> str:
    try:
        Catalog(load_settings().catalog_url).batches.stubs()
    except Exception as error:
        return f"the catalog does not answer: {type(error).__name__}"
    return "ok"


def _store() -> str:
    try:
        open_store(load_settings()).size("titles/none")
    except Exception as error:
        return f"the store does not answer: {error}"
    return "ok"
