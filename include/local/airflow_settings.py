"""``airflow_settings.yaml`` into a running Airflow: its pools, connections and variables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from include.adapters.airflow_api import AirflowApi
from include.base.pools import worker_pools
from include.base.settings import Settings
from include.local.environment import ROOT


def load_airflow_settings(api: AirflowApi, settings: Settings, *, project: Path = ROOT) -> None:
    """Load pools, connections and variables of ``airflow_settings.yaml`` through Airflow's API; known ones are updated.

    Pools of worker tasks get the slots of the settings, also those that the file does not name.
    """
    declared: dict[str, Any] = yaml.safe_load((project / "airflow_settings.yaml").read_text())["airflow"]
    for pool in _pools(declared.get("pools") or [], settings):
        _create_or_update(api, "/api/v2/pools", "name", pool)
    for connection in declared.get("connections") or []:
        body = {
            "connection_id": connection["conn_id"],
            "conn_type": connection["conn_type"],
            "host": connection.get("conn_host"),
            "schema": connection.get("conn_schema"),
            "login": connection.get("conn_login"),
            "password": connection.get("conn_password"),
            "port": connection.get("conn_port"),
            "extra": json.dumps(connection["conn_extra"]) if connection.get("conn_extra") else None,
        }
        _create_or_update(api, "/api/v2/connections", "connection_id", body)
    for variable in declared.get("variables") or []:
        body = {"key": variable["variable_name"], "value": str(variable["variable_value"])}
        _create_or_update(api, "/api/v2/variables", "key", body)


def _pools(declared: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """The declared pools, with the slots of the settings, and after them those of the settings alone."""
    slots = {pool.name: pool.slots for pool in worker_pools(settings)}
    known = {pool["pool_name"] for pool in declared}
    # A task that waits for its pod is deferred, and its pod works: it keeps its slot.
    added = [{"pool_name": name, "include_deferred": True} for name in slots if name not in known]
    return [
        {
            "name": pool["pool_name"],
            "slots": slots[pool["pool_name"]] if pool["pool_name"] in slots else pool["pool_slot"],
            "description": pool.get("pool_description", ""),
            "include_deferred": pool.get("include_deferred", False),
        }
        for pool in [*declared, *added]
    ]


def _create_or_update(api: AirflowApi, path: str, key: str, body: dict[str, Any]) -> None:
    if api.request("POST", path, json=body) is None:
        api.request("PATCH", f"{path}/{quote(str(body[key]))}", json=body)
