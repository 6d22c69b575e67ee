-- Whatever may still look at an old row keeps it: with many tasks a minute that is what makes claims slow.
create or replace function howdah.examine_horizon(caller text, patience interval)
returns table ("check" text, status text, found text, fix text)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  clock  timestamptz := clock_timestamp();
  hidden bigint;
begin
  -- What a user may not see of others is NULL.
  hidden := (select count(*) from pg_stat_activity a where a.backend_type is null and a.datname = current_database());
  return query
  select 'transactions', 'warn',
         format('A transaction of %s (pid %s%s) is open for %s and keeps dead rows', a.usename, a.pid, coalesce(', ' || nullif(a.application_name, ''), ''),
                date_trunc('second', clock - a.xact_start)),
         format('End it: SELECT pg_terminate_backend(%s); so that it does not come back: ALTER ROLE %I SET idle_in_transaction_session_timeout = ''10min'';', a.pid, a.usename)
    from pg_stat_activity a
   where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type <> 'autovacuum worker'
     and (a.backend_xmin is not null or a.backend_xid is not null or a.state like 'idle in transaction%')
     and a.xact_start < clock - examine_horizon.patience
   order by a.xact_start limit 10;
  if not found then
    return query select 'transactions', 'ok', format('None is open for longer than %s', examine_horizon.patience)
        || case when hidden > 0 then format('; those of other users cannot be seen: GRANT pg_read_all_stats TO %I', examine_horizon.caller) else '' end, null;
  end if;

  return query
  select 'prepared', 'warn', format('Transaction %L of %s is prepared since %s, and keeps dead rows and its locks', x.gid, x.owner, x.prepared),
         format('COMMIT PREPARED %L; or ROLLBACK PREPARED %L;', x.gid, x.gid)
    from pg_prepared_xacts x
   where x.database = current_database() and x.prepared < clock - examine_horizon.patience
   order by x.prepared limit 10;

  return query
  select 'replication', 'warn', format('Nobody reads from replication slot %s, and it keeps %s', s.slot_name,
                                       case when s.xmin is not null or s.catalog_xmin is not null then 'dead rows and ' else '' end || 'the log of changes, until the disk is full'),
         format('Start its reader, or: SELECT pg_drop_replication_slot(%L);', s.slot_name)
    from pg_replication_slots s
   where not s.active and (s.xmin is not null or s.catalog_xmin is not null or s.restart_lsn is not null)
   order by s.slot_name limit 10;
end
$$;
comment on function howdah.examine_horizon(text, interval) is 'Part of howdah.doctor: what keeps dead rows from being removed: old transactions, prepared ones, abandoned replication slots.';
