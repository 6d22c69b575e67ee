create or replace function howdah.examine_orphans(patience interval)
returns table ("check" text, status text, found text, fix text)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
begin
  return query
  select 'orphans', 'fail', format('%s tasks are running on a worker that nobody has heard of, task %s among them', count(*), min(t.id)),
         'SELECT howdah.lose(id, epoch, ''crash'', ''its worker is not known'', true) FROM howdah.task t WHERE status = ''running'' AND NOT EXISTS (SELECT FROM howdah.worker w WHERE w.id = t.worker);'
    from howdah.task t
   where t.status = 'running' and not exists (select from howdah.worker w where w.id = t.worker)
  having count(*) > 0
  union all
  select 'orphans', 'warn', format('%s tasks are running on workers whose lease is over, task %s among them: nobody has taken them back', count(*), min(t.id)),
         'SELECT * FROM howdah.rescue(); live workers do it by themselves'
    from howdah.task t join howdah.worker w on w.id = t.worker
   where t.status = 'running' and coalesce(w.ended_at, w.lease_until + w.ttl) < clock - examine_orphans.patience
  having count(*) > 0
  union all
  select 'orphans', 'fail', format('%s places in groups are taken by no running task, in group %s among them: their limits let too little through', count(*), min(s.group_name)),
         'DELETE FROM howdah.slot s WHERE NOT EXISTS (SELECT FROM howdah.task t WHERE t.id = s.task_id AND t.status = ''running'');'
    from howdah.slot s
   where not exists (select from howdah.task t where t.id = s.task_id and t.status = 'running')
  having count(*) > 0
  union all
  select 'orphans', 'warn', format('%s messages are for tasks that are not there, task %s among them', count(*), min(m.task_id)),
         'DELETE FROM howdah.message m WHERE NOT EXISTS (SELECT FROM howdah.task t WHERE t.id = m.task_id);'
    from howdah.message m
   where not exists (select from howdah.task t where t.id = m.task_id)
  having count(*) > 0
  union all
  select 'orphans', 'warn', format('%s keys are kept though their time is over for more than a day', count(*)),
         'DELETE FROM howdah.key WHERE until < now(); live workers do it by themselves'
    from howdah.key k
   where k.until < clock - interval '1 day'
  having count(*) > 0
  union all
  select 'orphans', 'warn', format('%s tasks are of kind %s, which no worker has ever declared', count(*), t.kind),
         format('Mend its name: UPDATE howdah.task SET kind = … WHERE kind = %L; or SELECT howdah.cancel(id) FROM howdah.task WHERE kind = %L;', t.kind, t.kind)
    from howdah.task t
   where t.status in ('queued', 'suspended') and not exists (select from howdah.kind k where k.name = t.kind)
   group by t.kind
  union all
  select 'orphans', 'warn', format('Schedule %s cannot fire: %s', s.name, s.error),
         format('Mend it: howdah schedule %s …; or SELECT howdah.unschedule(%L);', quote_literal(s.name), s.name)
    from howdah.schedule s
   where s.error is not null and s.retired_at is null;
  if not found then
    return query select 'orphans', 'ok', 'Every running task has its worker, and nothing is left of those that ended', null;
  end if;
end
$$;
comment on function howdah.examine_orphans(interval) is 'Part of howdah.doctor: what belongs to nobody any more.';
