"""Errors that are logged arrive in a chat: a burst of them as one message."""

import logging
import logging.config

from pillarbox import Attempt
from pillarbox.sync import Outbox

box = Outbox("outbox.db")
log = logging.getLogger("payments")


@box.channel("ops")
def ops(attempt: Attempt) -> None:
    """Stand for a chat: ``box.channel("ops", "slack://…")``."""
    log.error("what is logged here does not come again")
    print(attempt.to, "reads", attempt.text)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "ops": {
            "class": "pillarbox.integrations.log_records.LoggingHandler",
            "level": "ERROR",
            "box": box,  # in a file: "ext://payments.box"
            "channel": "ops",
            "to": "on-call",
            "every": "1m",
            "ttl": "1d",
        }
    },
    "root": {"handlers": ["ops"]},
}


if __name__ == "__main__":
    with box:
        logging.config.dictConfig(LOGGING)
        log.error("the bank does not answer")
        (handler,) = logging.getLogger().handlers
        handler.flush()
        for number in range(500):
            log.error("payment %d failed", number)
        handler.close()
        box.drain(30)
