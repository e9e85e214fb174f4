"""Migrations of the catalog, run by :meth:`include.adapters.catalog.Catalog.migrate`."""
