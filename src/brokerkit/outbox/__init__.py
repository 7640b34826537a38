"""Outbox: publishes events if, and only if, a database transaction commits.

`Outbox.publish` writes an event into a table, in the transaction of a session. A relay runs beside the bus. It sends what
was committed, and deletes each row once the broker has confirmed it. After a crash in between, it sends the event again
with the same id.
"""

from brokerkit.outbox._outbox import Outbox

__all__ = ["Outbox"]
