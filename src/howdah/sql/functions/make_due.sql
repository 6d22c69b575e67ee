create or replace function howdah.make_due(ids bigint[]) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  clock  timestamptz := howdah.now();
  queues text[];
begin
  with was as materialized (
    select t.id, t.kind, t.queue, t.step, t.attempt, t.epoch, t.status, t.run_at, t.status = 'suspended' and t.joining as joined
      from howdah.task t where t.id = any (make_due.ids)
  ), now_due as (
    update howdah.task t
       -- Who has it run wants it to run, however late it is.
       set status = 'queued', run_at = least(t.run_at, clock), start_before = null, finish_before = null, late = null, children = case when w.joined then 0 else t.children end
      from was w where t.id = w.id and (t.status <> 'queued' or t.run_at > clock or t.late is not null)
  ), remembered as (
    insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, actor, data)
    select clock, w.id, 'edit', w.kind, w.step, w.attempt, w.epoch, session_user,
           jsonb_build_object('before', jsonb_build_object('status', w.status, 'run_at', w.run_at),
                              'after', jsonb_build_object('status', 'queued', 'run_at', clock))
      from was w where w.status = 'suspended' or w.run_at > clock
  )
  select array_agg(distinct w.queue) into queues from was w;
  perform howdah.wake(q) from unnest(queues) q;
end
$$;
comment on function howdah.make_due(bigint[]) is 'Have these waiting tasks, which are locked, run now.';
