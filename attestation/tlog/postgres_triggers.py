# SPDX-License-Identifier: Apache-2.0
"""The triggers of `tables` in PostgreSQL's language, as functions that raise; TRUNCATE is refused too.

Entries are checked once for each statement, over all rows it added, because an append is one statement.
"""

from typing import Final

_REFUSE: Final = "USING ERRCODE = '23000'"


def _function(name: str, body: str) -> str:
    return f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"


_FUNCTIONS: Final = (
    _function("tlog_refuse", f"RAISE EXCEPTION '% is append-only', TG_TABLE_NAME {_REFUSE};"),
    _function(
        "tlog_entry_in_order",
        """IF EXISTS (
              SELECT 1 FROM (SELECT log, MIN(idx) AS low, MAX(idx) AS high, COUNT(*) AS n FROM added GROUP BY log) AS a
              WHERE high - low + 1 <> n
                OR low <> COALESCE((SELECT MAX(e.idx) + 1 FROM tlog_entry e WHERE e.log = a.log AND e.idx < low), 0)
                OR EXISTS (SELECT 1 FROM tlog_entry e WHERE e.log = a.log AND e.idx > high)
            ) THEN RAISE EXCEPTION 'tlog_entry is append-only' USING ERRCODE = '23000'; END IF;
            RETURN NULL;""",
    ),
    _function(
        "tlog_delete_over",
        """IF (SELECT deleted_at IS NULL FROM tlog_head WHERE id = OLD.log)
            THEN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = '23000'; END IF;
            RETURN OLD;""",
    ),
    _function(
        "tlog_tile_grows",
        f"""IF octet_length(NEW.data) NOT BETWEEN 32 AND 8192 OR octet_length(NEW.data) % 32 <> 0
            THEN RAISE EXCEPTION 'tlog_tile is append-only' {_REFUSE}; END IF;
            IF TG_OP = 'UPDATE' AND ((NEW.log, NEW.level, NEW.n) <> (OLD.log, OLD.level, OLD.n)
              OR octet_length(NEW.data) <= octet_length(OLD.data)
              OR OLD.data <> substring(NEW.data FROM 1 FOR octet_length(OLD.data)))
            THEN RAISE EXCEPTION 'tlog_tile is append-only' {_REFUSE}; END IF;
            RETURN NEW;""",
    ),
    _function(
        "tlog_head_begins",
        f"""IF NEW.size <> 0 THEN RAISE EXCEPTION 'tlog_head has one row a log' {_REFUSE}; END IF;
            RETURN NEW;""",
    ),
    _function(
        "tlog_head_grows",
        f"""IF NEW.id <> OLD.id OR NEW.origin <> OLD.origin OR NEW.size < OLD.size OR NEW.epoch < OLD.epoch
              OR (OLD.checkpoint IS NOT NULL AND NEW.checkpoint IS NULL)
            THEN RAISE EXCEPTION 'tlog_head only grows' {_REFUSE}; END IF;
            IF (OLD.frozen_at IS NOT NULL AND (NEW.size <> OLD.size OR NEW.frozen_at IS DISTINCT FROM OLD.frozen_at
                OR NEW.keep_until IS NULL OR NEW.keep_until < OLD.keep_until
                OR NEW.checkpoint IS DISTINCT FROM OLD.checkpoint))
              OR (NEW.frozen_at IS NOT NULL AND (NEW.keep_until IS NULL OR NEW.checkpoint IS NULL))
            THEN RAISE EXCEPTION 'tlog_head stays frozen' {_REFUSE}; END IF;
            IF NEW.deleted_at IS DISTINCT FROM OLD.deleted_at
              AND (OLD.deleted_at IS NOT NULL OR OLD.frozen_at IS NULL OR NEW.deleted_at < OLD.keep_until)
            THEN RAISE EXCEPTION 'tlog_head is kept' {_REFUSE}; END IF;
            RETURN NEW;""",
    ),
)

_BEFORE: Final = (
    ("tlog_entry", "UPDATE", "tlog_refuse"),
    ("tlog_entry", "DELETE", "tlog_delete_over"),
    ("tlog_tile", "INSERT OR UPDATE", "tlog_tile_grows"),
    ("tlog_tile", "DELETE", "tlog_delete_over"),
    ("tlog_head", "INSERT", "tlog_head_begins"),
    ("tlog_head", "UPDATE", "tlog_head_grows"),
    ("tlog_head", "DELETE", "tlog_refuse"),
)


def postgres_triggers() -> tuple[str, ...]:
    """The statements that make functions and triggers; made again, they are the same."""
    rows = tuple(
        f"CREATE OR REPLACE TRIGGER {table}_{event.split()[0].lower()} BEFORE {event} ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {function}()"
        for table, event, function in _BEFORE
    )
    truncate = tuple(
        f"CREATE OR REPLACE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION tlog_refuse()"
        for table in ("tlog_head", "tlog_entry", "tlog_tile")
    )
    in_order = (
        "CREATE OR REPLACE TRIGGER tlog_entry_in_order AFTER INSERT ON tlog_entry "
        "REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION tlog_entry_in_order()"
    )
    return (*_FUNCTIONS, *rows, *truncate, in_order)
