"""Everything in schema howdah, as text that two databases can be compared by."""

from __future__ import annotations

import psycopg

# Which day it is and when it was made decide nothing here: the partitions by name are left out.
_HERE = "c.relnamespace = 'howdah'::regnamespace and c.relname !~ '_[0-9]{8}'"
_QUERIES = {
    "relations": f"select concat_ws(' ', relkind, relname, reloptions, relacl) from pg_class c where {_HERE}",
    "columns": "select concat_ws(' ', relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,"
    " pg_get_expr(adbin, adrelid))"
    " from pg_attribute a join pg_class c on c.oid = attrelid left join pg_attrdef on adrelid = attrelid and adnum = attnum"
    f" where {_HERE} and attnum > 0 and relkind in ('r', 'p', 'v')",
    "indexes": f"select pg_get_indexdef(indexrelid) from pg_index join pg_class c on c.oid = indexrelid where {_HERE}",
    "constraints": "select concat_ws(' ', relname, conname, pg_get_constraintdef(x.oid)) from pg_constraint x"
    f" join pg_class c on c.oid = conrelid where {_HERE}",
    "functions": "select pg_get_functiondef(oid) from pg_proc where pronamespace = 'howdah'::regnamespace",
    "triggers": f"select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = tgrelid where {_HERE}",
    "views": f"select concat_ws(' ', relname, pg_get_viewdef(oid)) from pg_class c where {_HERE} and relkind = 'v'",
    "comments": "select concat_ws(' ', relname, objsubid, description) from pg_description"
    f" join pg_class c on c.oid = objoid and classoid = 'pg_class'::regclass where {_HERE}"
    " union all select concat_ws(' ', oid::regprocedure, obj_description(oid, 'pg_proc')) from pg_proc"
    " where pronamespace = 'howdah'::regnamespace"
    " union all select obj_description('howdah'::regnamespace, 'pg_namespace')",
    "migrations": "select concat_ws(' ', version, name) from howdah.migration",
    "installed": "select concat_ws(' ', version, digest) from howdah.installed",
}


def snapshot(conn: psycopg.Connection) -> dict[str, list[str]]:
    """What there is, by what it is; sorted."""
    if not conn.execute("select 1 from pg_namespace where nspname = 'howdah'").fetchone():
        return {}
    return {what: sorted(row[0] for row in conn.execute(query.encode())) for what, query in _QUERIES.items()}
