"""Published sets whose every frame is to be compared with the mezzanine: queued once, ended once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from include.adapters.catalog.database import Part
from include.adapters.catalog.journal import add_event, request_row
from include.adapters.catalog.records import ProofOutcome, ProofRecord
from include.adapters.catalog.schema import proofs, titles

_EVENTS: dict[ProofOutcome, str] = {
    "proved": "title.proved",
    "wrong": "title.proved_wrong",
    "given_up": "title.not_proved",
}


class Proofs(Part):
    """Proofs of published sets, in slices."""

    def queue(self, request_id: str, version: int, now: datetime) -> bool:
        """Note that the set that a request has published is to be proved. False where that is noted already."""
        with self._write() as connection:
            if connection.scalar(select(proofs.c.request_id).where(proofs.c.request_id == request_id)) is not None:
                return False
            row = request_row(connection, request_id)
            connection.execute(insert(proofs).values(request_id=request_id, version=version, queued_at=now))
            add_event(
                connection,
                "proof.queued",
                batch_id=row["batch_id"],
                request_id=request_id,
                now=now,
                detail={"version": version},
            )
            return True

    def open(self) -> list[ProofRecord]:
        """Proofs that have not come to their end: those of the most valuable titles first, of these the oldest."""
        query = (
            select(*(proofs.c[name] for name in ProofRecord.model_fields))
            .join(titles, titles.c.request_id == proofs.c.request_id)
            .where(proofs.c.ended_at.is_(None))
            .order_by(titles.c.score.desc(), titles.c.seq)
        )
        with self._read() as connection:
            return [ProofRecord(**row) for row in connection.execute(query).mappings()]

    def begin_slice(self, request_id: str, run_id: str) -> None:
        """A run has been started for the next slice."""
        self._change(request_id, run_id=run_id, slices=proofs.c.slices + 1)

    def end_slice(self, request_id: str, *, failed: bool) -> None:
        """The run of a slice has ended; ``failed`` where it left nothing."""
        self._change(request_id, run_id=None, failures=proofs.c.failures + 1 if failed else 0)

    def end(self, request_id: str, outcome: ProofOutcome, now: datetime, *, detail: dict[str, Any]) -> bool:
        """The proof has come to its end, with its event. False where it had already."""
        with self._write() as connection:
            ended = connection.execute(
                update(proofs)
                .where(proofs.c.request_id == request_id, proofs.c.ended_at.is_(None))
                .values(ended_at=now, outcome=outcome, run_id=None)
            )
            if ended.rowcount != 1:
                return False
            row = request_row(connection, request_id)
            kind = _EVENTS[outcome]
            add_event(connection, kind, batch_id=row["batch_id"], request_id=request_id, now=now, detail=detail)
            return True

    def _change(self, request_id: str, **values: Any) -> None:
        this = (proofs.c.request_id == request_id, proofs.c.ended_at.is_(None))
        with self._write() as connection:
            connection.execute(update(proofs).where(*this).values(**values))
