"""The truth: tables, migrations, and the only code that speaks SQL. One file per family of tables.

Every function takes a `Connection` and never commits: the caller owns the transaction, so that an envelope is
recorded, judged and answered as one. SQLite and PostgreSQL run the same statements; where they differ, the
difference lives in `database` (transactions), `upsert` (conflicts) or `column_types`. No judgement here. A new
table is a `Table` in `tables`, a migration under `migrations/versions`, and a file that reads and writes it;
its key begins with `run_id`.
"""

from monitor_server.storage.database import Database, DatabaseUnavailable
from monitor_server.storage.election import Election
from monitor_server.storage.runs import RunRow
from monitor_server.storage.schema import SchemaError

__all__ = ["Database", "DatabaseUnavailable", "Election", "RunRow", "SchemaError"]
