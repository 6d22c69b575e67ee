-- reset_val is what a session begins with, whatever this one has set since.
create or replace function howdah.examine_settings(caller text)
returns table ("check" text, status text, found text, fix text)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  connections int;
  places      int;
begin
  if pg_is_in_recovery() then
    return query select 'standby', 'fail', 'This server is a standby: nothing can be written here',
      'Connect to the primary: add target_session_attrs=read-write and all hosts to the DSN';
  end if;

  return query
  select 'durability', x.status, x.found, format('ALTER SYSTEM SET %I = on; SELECT pg_reload_conf();', s.name)
    from pg_settings s
    join (values ('fsync', 'fail', 'fsync is off: a crash of the machine can destroy the whole database'),
                 ('full_page_writes', 'warn', 'full_page_writes is off: a crash of the machine can destroy pages of the database')) x (name, status, found)
      on x.name = s.name
   where s.setting = 'off'
  union all
  select 'durability', 'warn', format('synchronous_commit is %s: a crash of the server can forget tasks that were accepted, and run again those that ended', s.reset_val),
         format('ALTER ROLE %I SET synchronous_commit = on; or ALTER DATABASE %I …, if it is set there', examine_settings.caller, current_database())
    from pg_settings s where s.name = 'synchronous_commit' and s.reset_val in ('off', 'local');
  if not found then
    return query select 'durability', 'ok', 'What was committed stays', null;
  end if;

  return query
  select 'autovacuum', 'fail', format('%s is off: dead rows are never removed, and every claim gets slower', s.name),
         format('ALTER SYSTEM SET %I = on; SELECT pg_reload_conf();', s.name)
    from pg_settings s where s.name in ('autovacuum', 'track_counts') and s.reset_val = 'off'
  union all
  select 'autovacuum', 'fail', format('autovacuum is off for howdah.%I', c.relname), format('ALTER TABLE howdah.%I RESET (autovacuum_enabled);', c.relname)
    from pg_class c where c.relnamespace = 'howdah'::regnamespace and c.reloptions && array['autovacuum_enabled=false', 'autovacuum_enabled=off'];
  if not found then
    return query select 'autovacuum', 'ok', 'It is on', null;
  end if;

  -- Not from pg_stat_activity, where most users see only their own.
  connections := (select sum(d.numbackends) from pg_stat_database d);
  places := current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int;
  return query
  select 'connections', case when connections >= places * 0.95 then 'fail' when connections >= places * 0.8 then 'warn' else 'ok' end,
         format('%s of %s are in use', connections, places),
         case when connections >= places * 0.8
              then 'Close idle ones, put a pooler between, or: ALTER SYSTEM SET max_connections = ' || places * 2 || '; and restart the server' end;

  return query
  select 'timeouts', 'warn', format('%s is %s: %s', s.name, s.reset_val::bigint * interval '1 ms', x.found),
         format('ALTER ROLE %I SET %I = 0; or ALTER DATABASE %I …, if it is set there', examine_settings.caller, s.name, current_database())
    from pg_settings s
    join (values ('statement_timeout', 60000, 'a long statement of howdah (rescue, retention, a migration) may be cut off'),
                 ('lock_timeout', 1000, 'a statement of howdah that waits for a row fails'),
                 ('idle_in_transaction_session_timeout', 60000, 'a handler that works in its transaction (on_commit, transactional) may lose it'),
                 ('transaction_timeout', 60000, 'a handler that works in its transaction (on_commit, transactional) may lose it'),
                 ('idle_session_timeout', 600000, 'workers that listen, and idle connections, are cut off')) x (name, least, found)
      on x.name = s.name
   where case when s.vartype = 'integer' then s.reset_val::bigint between 1 and x.least - 1 end;
  if not found then
    return query select 'timeouts', 'ok', 'None is so short that it hurts', null;
  end if;

  return query
  select 'sessions', x.status, format('%s is %s: %s', s.name, s.reset_val, x.found),
         format('ALTER ROLE %I RESET %I; or ALTER DATABASE %I …, if it is set there', examine_settings.caller, s.name, current_database())
    from pg_settings s
    join (values ('default_transaction_isolation', 'read committed', 'warn', 'howdah''s own sessions set it otherwise; behind a pooler they cannot, and in yours its functions may fail'),
                 ('default_transaction_read_only', 'off', 'warn', 'howdah''s own sessions set it otherwise; behind a pooler they cannot, and nothing can be enqueued from yours'),
                 ('session_replication_role', 'origin', 'fail', 'triggers do not fire: plain INSERT and UPDATE … SET error = NULL do not work')) x (name, good, status, found)
      on x.name = s.name
   where s.reset_val <> x.good;
  if not found then
    return query select 'sessions', 'ok', 'They begin as howdah needs them', null;
  end if;

  if current_setting('server_encoding') <> 'UTF8' then
    return query select 'encoding', 'warn', format('The database is in %s: a payload with another character is refused', current_setting('server_encoding')),
      'Make a database WITH ENCODING ''UTF8'' TEMPLATE template0, and move there';
  end if;
  if pg_notification_queue_usage() > 0.5 then
    return query select 'notifications', 'warn', format('Their queue is %s %% full: when it is full, every commit that notifies fails', round(pg_notification_queue_usage() * 100)),
      'A session that listens is in a long transaction: end it. SELECT pid, usename, xact_start FROM pg_stat_activity ORDER BY xact_start;';
  end if;
end
$$;
comment on function howdah.examine_settings(text) is 'Part of howdah.doctor: settings of the server and of the sessions of this user.';
