"""`tatu-manage reconcile`: compare the ledger with the cloud now."""

import argparse

from tatu import bootstrap
from tatu.manage import opening
from tatu.service.reconcile import Report


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser.add_argument("--dry-run", action="store_true", help="only tell what was lost")
    parser.set_defaults(run=_reconcile)


def _reconcile(parsed: argparse.Namespace) -> int:
    with opening.application(parsed) as application:
        report = bootstrap.reconciliation(application).run(dry_run=parsed.dry_run)
    if report.skipped:
        print("a worker is comparing at this moment")
        return 0
    _tell(report, dry_run=parsed.dry_run)
    return int(bool(report.troubles))


def _tell(report: Report, *, dry_run: bool) -> None:
    seconds = report.duration.total_seconds()
    print(
        f"compared in {seconds:.1f} s, with {report.calls} questions to the cloud:"
        f" {report.authorities} authorities, {report.holders} holders of certificates,"
        f" {report.origins} credentials and trusts of theirs, {report.hosts} hosts"
    )
    to_be = "to be " if dry_run else ""
    for name, count in (
        ("lost", report.found),
        ("not answered", report.unjudged),
        (f"{to_be}applied", report.applied),
        (f"{to_be}released", report.released),
        (f"{to_be}held by the brake", report.held),
        ("authorities made", report.created),
    ):
        if count:
            print(f"{name}: {count}")
    for trouble in report.troubles:
        print(f"warning: {trouble}")
