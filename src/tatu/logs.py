"""How logs are written: JSON objects, one a line."""

import logging
from typing import Any

import msgspec
import structlog


def configure(level: str) -> None:
    """Write all logs, also those of libraries, as JSON objects, one a line on standard output."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=False,  # a reload may change the level
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(_is_news)
    # Libraries say what they do at info, and to debug what they were given: that may be secret.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


_NO_NEWS = ("Configuration allows spawning up to", "Granian shutdown completed")
"""How Granian's messages begin that call for nothing.

It takes more threads than cores for a mistake: ours wait for the ledger and the key store, and
backpressure is set. The other is a farewell; that the server stops is logged before it.
"""


def _is_news(record: logging.LogRecord) -> bool:
    return record.name != "_granian" or not record.getMessage().startswith(_NO_NEWS)


def _json(event: object, **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)
