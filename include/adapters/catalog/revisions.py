"""The catalog's tables through the releases: at which revision they are, which migrations are due, there and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from include.adapters.catalog.database import Database
from include.base.document import Document
from include.base.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config


class Migration(Document):
    """One step of the catalog's tables."""

    revision: str
    what: str
    """What it is for, in a line."""


class Revisions:
    """Migrations of one catalog. Several processes may migrate at once: one does, the others wait."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self) -> list[Migration]:
        """All migrations of this release, from the first to the newest."""
        from alembic.script import ScriptDirectory

        scripts = ScriptDirectory.from_config(_config()).walk_revisions()
        return [Migration(revision=script.revision, what=script.doc) for script in scripts][::-1]

    def current(self) -> str | None:
        """The revision of the tables; None where there are none yet. Makes no database where there is none."""
        from alembic.migration import MigrationContext

        url = make_url(self._database.url)
        if url.get_backend_name() == "sqlite" and not (url.database and Path(url.database).exists()):
            return None
        with self._database.read() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def due(self) -> list[Migration]:
        """Migrations that the catalog has not seen yet; raises :class:`ConfigurationError` for a newer catalog."""
        return self._after(self.current())

    def migrate(self) -> list[Migration]:
        """Bring the tables to the newest revision; returns what was applied.

        Raises :class:`ConfigurationError`, and changes nothing, where a newer release has migrated the catalog.
        """
        from alembic import command
        from alembic.migration import MigrationContext

        config = _config()
        self._database.prepare_file()
        with self._database.write() as connection:
            applied = self._after(MigrationContext.configure(connection).get_current_revision())
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return applied

    def go_back(self, revision: str) -> list[Migration]:
        """Undo every migration after ``revision``, in one transaction; returns them, the newest first."""
        from alembic import command

        config = _config()
        with self._database.write() as connection:
            undone = self._between(revision, self.current())
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
        return undone

    def _after(self, revision: str | None) -> list[Migration]:
        known = self.known()
        if revision is None:
            return known
        places = {migration.revision: place for place, migration in enumerate(known)}
        if revision not in places:
            raise ConfigurationError(
                f"the catalog is at revision {revision}, which this release does not know: a newer one migrated it. "
                "Install that one, or take the catalog back with its `callsheet migrate --back`"
            )
        return known[places[revision] + 1 :]

    def _between(self, revision: str, current: str | None) -> list[Migration]:
        due = {migration.revision for migration in self._after(current)} if current else set()
        return [migration for migration in self._after(revision) if migration.revision not in due][::-1]


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "include.adapters.catalog:migrations")
    return config
