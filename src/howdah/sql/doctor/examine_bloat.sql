create or replace function howdah.examine_bloat()
returns table ("check" text, status text, found text, fix text)
language plpgsql stable
as $$
#variable_conflict use_column
begin
  -- Autovacuum comes at 2 % and a thousand dead rows: ten times that says that it does not come, or may not remove them.
  return query
  select 'bloat', 'warn', format('howdah.%I has %s dead rows beside %s live ones; it was vacuumed %s', s.relname, s.n_dead_tup, s.n_live_tup,
                                 coalesce(date_trunc('second', clock_timestamp() - greatest(s.last_autovacuum, s.last_vacuum)) || ' ago', 'never')),
         format('VACUUM (ANALYZE) howdah.%I; if they stay: end the transactions that keep them', s.relname)
    from pg_stat_user_tables s
   where s.schemaname = 'howdah' and s.n_dead_tup > 10000 and s.n_dead_tup > 0.2 * s.n_live_tup
   order by s.n_dead_tup desc;
  if not found then
    return query select 'bloat', 'ok', format('howdah.task has %s dead rows beside %s live ones, and takes %s', s.n_dead_tup, s.n_live_tup,
                                              pg_size_pretty(pg_total_relation_size('howdah.task'))), null
      from pg_stat_user_tables s where s.relid = 'howdah.task'::regclass;
  end if;

  return query
  select 'indexes', 'warn', format('Index howdah.%I takes %s for %s live rows', s.name, pg_size_pretty(s.size), s.live),
         format('REINDEX INDEX CONCURRENTLY howdah.%I;', s.name)
    from (select i.indexrelname as name, pg_relation_size(i.indexrelid) as size, t.n_live_tup as live
            from pg_stat_user_indexes i join pg_stat_user_tables t on t.relid = i.relid
           where i.schemaname = 'howdah' and i.relname in ('task', 'message', 'group', 'slot', 'key', 'worker')) s
   where s.size > 67108864 and s.size > 1000 * greatest(s.live, 1)
   order by s.size desc;
end
$$;
comment on function howdah.examine_bloat() is 'Part of howdah.doctor: dead rows that stay, and indexes that are far too big for what is in them. Counted by the statistics of the server.';
