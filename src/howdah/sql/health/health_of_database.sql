-- Whoever may not read all of pg_stat_activity sees of others that they are there, and how old a snapshot they hold.
create or replace function howdah.health_of_database(clock timestamptz)
returns table (scope text, name text, colour text, code text, reason text, advice text, figures jsonb)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  hidden  bigint;
  holding bigint;
begin
  -- Only a transaction that holds a snapshot or an id keeps dead rows from being removed, and only in its own database.
  return query
  select 'database', current_database()::text, howdah.colour_of(x.age, 300, 3600), 'long transaction',
         format('A transaction is open for %s%s (user %s, application %s, %s): what was deleted since then cannot be removed', howdah.in_words(x.age),
                coalesce(' in process ' || x.pid, ', prepared and forgotten'), coalesce(x.usename, '?'), coalesce(nullif(x.application_name, ''), '?'),
                coalesce(x.state, 'prepared')),
         case when x.pid is null then format('COMMIT PREPARED %L, or ROLLBACK PREPARED %1$L', x.gid)
              else format('End it in its program, or: SELECT pg_terminate_backend(%s). Limit such: idle_in_transaction_session_timeout', x.pid) end,
         jsonb_build_object('age', round(x.age::numeric, 3), 'pid', x.pid, 'user', x.usename, 'application', x.application_name, 'warn', 300, 'alarm', 3600)
    from (select extract(epoch from clock - a.xact_start)::float8 as age, a.pid, a.usename::text, a.application_name, a.state, null::text as gid
            from pg_stat_activity a
           where a.datname = current_database() and a.pid <> pg_backend_pid() and coalesce(a.backend_type, '') <> 'autovacuum worker'
             and (a.backend_xmin is not null or a.backend_xid is not null)
          union all
          select extract(epoch from clock - p.prepared)::float8, null, p.owner::text, null, null, p.gid from pg_prepared_xacts p where p.database = current_database()
           order by age desc nulls last limit 1) x
   where x.age >= 300;

  select count(*), max(greatest(age(a.backend_xmin), age(a.backend_xid))) into hidden, holding
    from pg_stat_activity a
   where a.datname = current_database() and a.pid <> pg_backend_pid() and a.query = '<insufficient privilege>'
     and (a.backend_xmin is not null or a.backend_xid is not null);
  return query
  select 'database', current_database()::text, howdah.colour_of(holding, 100000, null), 'hidden transactions',
         format('%s open transactions of other users are hidden from user %s, the oldest one %s transactions old', hidden, current_user, holding),
         format('So that health can say whose they are: GRANT pg_read_all_stats TO %I', current_user),
         jsonb_build_object('hidden', hidden, 'age_in_transactions', holding, 'warn', 100000)
   where hidden > 0;

  -- Autovacuum comes every minute to a table that needs it. Before its first time: how long the table could wait for it.
  return query
  select 'database', current_database()::text, howdah.colour_of(s.waited, 300, 3600), 'dead rows',
         format('howdah.task has %s dead rows, and was not vacuumed for %s', s.n_dead_tup, howdah.in_words(s.waited)),
         'Is autovacuum on (SHOW autovacuum), and does it keep up? At once: VACUUM howdah.task',
         jsonb_build_object('dead', s.n_dead_tup, 'live', s.n_live_tup, 'expected', s.expected, 'waited', round(s.waited::numeric, 3), 'warn', 300, 'alarm', 3600)
    from (select t.n_dead_tup, t.n_live_tup, round(1000 + 0.02 * t.n_live_tup) as expected,
                 extract(epoch from clock - coalesce(greatest(t.last_vacuum, t.last_autovacuum), (select min(m.applied_at) from howdah.migration m)))::float8 as waited
            from pg_stat_user_tables t where t.relid = 'howdah.task'::regclass) s
   where s.n_dead_tup >= greatest(50000, 5 * s.expected) and s.waited >= 300;
end
$$;
comment on function howdah.health_of_database(timestamptz) is
  'What will hurt in the database: a transaction that keeps dead rows from being removed, dead rows that nobody removes.';
