"""The latest report of each host."""

import json
from typing import Any

from tatu.core.claims import ClaimedCertificate, Finding, LiveSession, Report
from tatu.ports import Reports
from tatu.store import columns
from tatu.store.claims import keep_latest, latest
from tatu.store.database import Database
from tatu.store.tables import reports as table


class SqlReports(Reports):
    """Keeps reports as they are: nothing is ever looked for in them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, report: Report) -> None:
        """Keep a report."""
        values = {
            **vars(report),
            "received_at": columns.micros(report.received_at),
            "findings": columns.dump([vars(finding) for finding in report.findings]),
            "sessions": columns.dump([_dumped(session) for session in report.sessions]),
        }
        [gone] = self._database.write(lambda connection: keep_latest(connection, table, [values]))
        if gone is not None:
            raise gone

    def get(self, authority_id: str, host_id: str) -> Report:
        """Return a report."""
        row = latest(self._database, table, authority_id, host_id, what="report")
        return Report(
            **{
                **row._asdict(),
                "findings": tuple(Finding(**each) for each in json.loads(row.findings)),
                "sessions": tuple(map(_session, json.loads(row.sessions))),
            }
        )


def _dumped(session: LiveSession) -> dict[str, Any]:
    return {
        **vars(session),
        "certificate": vars(session.certificate),
        "since": columns.micros(session.since),
    }


def _session(stored: dict[str, Any]) -> LiveSession:
    return LiveSession(
        **{
            **stored,
            "certificate": ClaimedCertificate(**stored["certificate"]),
            "since": columns.moment(stored["since"]),
        }
    )
