"""What to do about an error of a transactional call: every client error is translated once, here."""

from __future__ import annotations

from enum import Enum
from typing import Final

from confluent_kafka import KafkaError


class Reaction(Enum):
    """What to do about a client error."""

    AGAIN = "again"
    ABORT = "abort"
    EXIT = "exit"


#: Somebody else has our place.
FENCING_CODES: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
    }
)

#: A connection broke: a request may be sent again.
DISCONNECTED_CODES: Final = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN})

#: A person has to allow or correct something.
REFUSED_CODES: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
    }
)


def reaction_to(error: KafkaError) -> Reaction:
    """Reaction to an error of a transactional call.

    The order matters: a fatal error may carry other flags. None of the flags means the client cannot
    say, which is treated as fatal (librdkafka, INTRODUCTION.md, "Error handling" of transactions).
    """
    if error.fatal():
        return Reaction.EXIT
    if error.txn_requires_abort():
        return Reaction.ABORT
    return Reaction.AGAIN if error.retriable() else Reaction.EXIT
