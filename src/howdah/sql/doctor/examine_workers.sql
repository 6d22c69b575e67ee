create or replace function howdah.examine_workers()
returns table ("check" text, status text, found text, fix text)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
  live  bigint := (select count(*) from howdah.worker w where w.status = 'live' and w.lease_until >= clock);
  due   bigint;
begin
  if live = 0 then
    due := (select count(*) from howdah.task t where t.status = 'queued' and t.run_at <= clock);
    return query select 'workers', case when due > 0 then 'warn' else 'ok' end, format('None is alive; %s tasks are due', due),
      case when due > 0 then 'howdah worker your_module:app' end;
  else
    return query
    select 'workers', case when count(distinct w.version) > 1 or max(w.version) <> max(i.version) then 'warn' else 'ok' end,
           format('%s alive, of version %s; the functions are of %s', live, string_agg(distinct w.version, ' and ' order by w.version), max(i.version)),
           case when count(distinct w.version) > 1 then 'Restart the older ones, unless they are being replaced right now: SELECT host, pid, version FROM howdah.workers ORDER BY version;'
                when max(w.version) <> max(i.version) then format('Upgrade the workers to %s', max(i.version)) end
      from howdah.worker w cross join howdah.installed i
     where w.status = 'live' and w.lease_until >= clock;

    return query
    select 'kinds', 'warn', format('%s tasks of kind %s wait, and no live worker knows it', count(*), t.kind),
           format('Start a worker that imports it; or SELECT howdah.cancel(id) FROM howdah.task WHERE kind = %L AND status <> ''running'';', t.kind)
      from howdah.task t
     where (t.status = 'queued' and t.run_at <= clock)
       and not exists (select from howdah.worker w where w.status = 'live' and w.lease_until >= clock and t.kind = any (w.kinds))
     group by t.kind order by count(*) desc limit 10;

    return query
    select 'queues', 'warn', format('%s tasks of queue %s are due, and no live worker serves it', count(*), t.queue),
           format('howdah worker your_module:app -q %1$L; or move them: UPDATE howdah.task SET queue = ''default'' WHERE queue = %1$L AND status = ''queued'';', t.queue)
      from howdah.task t
     where t.status = 'queued' and t.run_at <= clock
       and not exists (select from howdah.worker w where w.status = 'live' and w.lease_until >= clock and (w.queues is null or w.queues ? t.queue))
     group by t.queue order by count(*) desc limit 10;
  end if;
end
$$;
comment on function howdah.examine_workers() is 'Part of howdah.doctor: how many workers are alive, of which version, and what none of them would run.';
