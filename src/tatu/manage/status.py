"""`tatu-status upgrade check`: whether a new release may be started."""

import sys
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg
from oslo_upgradecheck import common_checks, upgradecheck
from oslo_upgradecheck.upgradecheck import Code, Result

from tatu import bootstrap
from tatu.config import Config, load
from tatu.core.errors import TatuError


class Checks(upgradecheck.UpgradeCommands):
    """What is looked at; nothing is changed by it."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._upgrade_checks = (
            ("Configuration", Checks._configuration),
            ("Policy file", (common_checks.check_policy_json, {"conf": conf})),
            ("Ledger", Checks._ledger),
        )

    def _configuration(self) -> Result:
        try:
            config = self._loaded()
        except TatuError as error:
            return Result(Code.FAILURE, str(error))
        return Result(Code.SUCCESS, f"serves {config.api_endpoint}")

    def _ledger(self) -> Result:
        try:
            database = bootstrap.upkeep(self._loaded())
            current, newest = database.current(), database.newest
        except TatuError as error:
            return Result(Code.FAILURE, str(error))
        if current == newest:
            return Result(Code.SUCCESS, f"revision {current}")
        if current is None:
            return Result(Code.FAILURE, "it is empty: run `tatu-manage db sync`")
        if current > newest:  # revisions are numbers of four digits
            return Result(Code.FAILURE, f"revision {current} is of a newer release")
        return Result(
            Code.WARNING, f"revision {current}: run `tatu-manage db sync`, which makes {newest}"
        )

    def _loaded(self) -> Config:
        files = [f"--config-file={name}" for name in self._conf.config_file or ()]
        files += [f"--config-dir={name}" for name in self._conf.config_dir or ()]
        config = load(files)
        bootstrap.check_config(config)
        return config


class _Options(cfg.ConfigOpts):
    """The command line, whose help says what it is for: the library has no word for it."""

    def __call__(self, *args: Any, **named: Any) -> None:
        """Read it."""
        named["description"] = "Says whether a new release of Tatu may be started."
        super().__call__(*args, **named)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `upgrade check`; 0 well, 1 look at it, 2 do not go on, 255 a mistake of ours."""
    conf = _Options()
    given = list(sys.argv[1:] if arguments is None else arguments)
    return upgradecheck.main(conf, project="tatu", upgrade_command=Checks(conf), argv=given)


if __name__ == "__main__":
    sys.exit(main())
