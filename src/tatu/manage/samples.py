"""`tatu-manage config`: sample files, as oslo's generators write them."""

import argparse

from oslo_config import generator as configuration
from oslo_policy import generator as policy


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser("sample", help="print tatu.conf with every option")
    command.set_defaults(run=_sample)
    command = commands.add_parser("policy", help="print policy.yaml with every rule")
    command.set_defaults(run=_policy)


def _sample(parsed: argparse.Namespace) -> None:
    namespaces = ("tatu", "tatu.drivers", "oslo.policy")
    configuration.main([f"--namespace={name}" for name in namespaces])


def _policy(parsed: argparse.Namespace) -> None:
    policy.generate_sample(["--namespace=tatu"])
