"""Everything in schema howdah, as text that two databases can be compared by."""

from __future__ import annotations

import psycopg

# Which day it is and when it was made decide nothing here: the partitions by name are left out.
_QUERIES = {
    "relations": "select relkind || ' ' || relname || ' ' || coalesce(reloptions::text, '') || ' ' || coalesce(relacl::text, '')"
    " from pg_class where {here} and relname !~ '_[0-9]{{8}}'",
    "columns": "select c.relname || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || attidentity"
    " || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')"
    " from pg_attribute a join pg_class c on c.oid = attrelid left join pg_attrdef d on adrelid = attrelid and adnum = attnum"
    " where {here} and attnum > 0 and c.relkind in ('r', 'p', 'v') and c.relname !~ '_[0-9]{{8}}'",
    "indexes": "select pg_get_indexdef(indexrelid) from pg_index join pg_class c on c.oid = indexrelid"
    " where {here} and relname !~ '_[0-9]{{8}}'",
    "constraints": "select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(c.oid) from pg_constraint c"
    " where connamespace = 'howdah'::regnamespace and conrelid::regclass::text !~ '_[0-9]{{8}}'",
    "functions": "select pg_get_functiondef(oid) from pg_proc where pronamespace = 'howdah'::regnamespace",
    "triggers": "select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = tgrelid where {here}",
    "views": "select relname || ' ' || pg_get_viewdef(oid) from pg_class where {here} and relkind = 'v'",
    "comments": "select classoid::regclass || ' ' || coalesce(r.relname, p.proname, n.nspname) || ' ' || objsubid || ' ' || d.description"
    " from pg_description d"
    " left join pg_class r on r.oid = objoid and classoid = 'pg_class'::regclass and r.relnamespace = 'howdah'::regnamespace"
    " left join pg_proc p on p.oid = objoid and classoid = 'pg_proc'::regclass and p.pronamespace = 'howdah'::regnamespace"
    " left join pg_namespace n on n.oid = objoid and classoid = 'pg_namespace'::regclass and n.nspname = 'howdah'"
    " where coalesce(r.oid, p.oid, n.oid) is not null and coalesce(r.relname, '') !~ '_[0-9]{{8}}'",
    "migrations": "select version || ' ' || name from howdah.migration",
    "installed": "select version || ' ' || digest from howdah.installed",
}


def snapshot(conn: psycopg.Connection) -> dict[str, list[str]]:
    """What there is, by what it is; sorted."""
    if not conn.execute("select from pg_namespace where nspname = 'howdah'").fetchone():
        return {}
    return {
        name: sorted(
            row[0] for row in conn.execute(query.format(here="relnamespace = 'howdah'::regnamespace").encode())
        )
        for name, query in _QUERIES.items()
    }
