"""Callsheet.

Floors, from top to bottom: cli; api, simulation, local; orchestration; services; worker; pipelines; stages; adapters;
recipes; domain; base. Each uses what stands beneath it, nothing above (docs/decisions/0016).
"""
