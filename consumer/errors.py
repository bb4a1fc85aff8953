"""Expected errors: the class is the reaction, the message says what to do next.

`consumer.cli.main` prints one of these without a traceback and exits with its code. Anything else
that escapes is a bug. Bad records are no errors: they are `schemas.rejects.Rejects`.
"""

from __future__ import annotations

from typing import ClassVar

from consumer.exit_codes import ExitCode


class SegmenterError(Exception):
    """An expected error. `problem` says what is wrong, `fix` what the operator does next."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNEXPECTED

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}\n  fix: {self.fix}"


class ConfigError(SegmenterError):
    """A setting is unknown or has a wrong value: stop, a person corrects it."""

    exit_code = ExitCode.CONFIG


class BrokerUnreachable(SegmenterError):
    """No broker answered within the deadline: stop, or try later."""

    exit_code = ExitCode.BROKER


class BrokerRefused(SegmenterError):
    """A broker answered and refused (authorisation, unsupported request): a person corrects it."""

    exit_code = ExitCode.BROKER


class RegistryUnreachable(SegmenterError):
    """The Schema Registry does not say what records are written with: stop; they are read again."""

    exit_code = ExitCode.BROKER


class TopicError(SegmenterError):
    """A topic is missing or has the wrong shape: `segmenter topics create` or a person."""

    exit_code = ExitCode.TOPICS


class SpecError(SegmenterError):
    """A feature specification or strategy file cannot be used."""

    exit_code = ExitCode.DATA


class DataError(SegmenterError):
    """An input file cannot be read, or a record can never be written."""

    exit_code = ExitCode.DATA


class Fenced(SegmenterError):
    """Another process took this instance's place: exit, never write again."""

    exit_code = ExitCode.RESTART


class StateUnknown(SegmenterError):
    """It is not known whether the last commit happened: exit and restore. Never guess."""

    exit_code = ExitCode.RESTART


class TransactionAborted(SegmenterError):
    """The transaction is gone, nothing of it is visible.

    Reaction: if the partitions are still owned, write the same payload once more; otherwise drop
    their memory and restore.
    """

    exit_code = ExitCode.RESTART
