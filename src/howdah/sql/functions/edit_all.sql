create or replace function howdah.edit_all(
  filter   jsonb,
  queue    text default null,
  priority int default null,
  delay    interval default null,
  run_at   timestamptz default null,
  after    bigint default 0,
  at_most  int default 1000
) returns table (id bigint, outcome text, why text)
language plpgsql
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  due     timestamptz;
  page    record;
  edited  bigint[];
  queues  text[];
begin
  if num_nonnulls(edit_all.queue, edit_all.priority, edit_all.delay, edit_all.run_at) = 0 then
    raise exception using errcode = 'HW002', message = 'nothing to change was given', hint = 'Give queue, priority, delay or run_at; payload and step are changed task by task: howdah.edit';
  end if;
  due := howdah.check_edit(edit_all.queue, edit_all.delay, edit_all.run_at);
  select * into page from howdah.lock_page(howdah.meant(edit_all.filter), edit_all.after, edit_all.at_most);
  with was as materialized (
    select t.* from howdah.task t
     where t.id = any (page.free) and t.status <> 'running' and (due is null or t.status = 'queued' or t.status = 'suspended' and not t.joining)
  ), now_so as (
    update howdah.task t
       set queue = coalesce(edit_all.queue, t.queue), priority = coalesce(edit_all.priority, t.priority), run_at = coalesce(due, t.run_at)
      from was w
     where t.id = w.id and (t.queue, t.priority, t.run_at) is distinct from (coalesce(edit_all.queue, t.queue), coalesce(edit_all.priority, t.priority), coalesce(due, t.run_at))
    returning t.id, t.queue, t.status, w.kind, w.step, w.attempt, w.epoch,
              jsonb_strip_nulls(jsonb_build_object('queue', case when w.queue <> t.queue then w.queue end, 'priority', case when w.priority <> t.priority then w.priority end,
                                                   'run_at', case when w.run_at <> t.run_at then w.run_at end)) as before,
              jsonb_strip_nulls(jsonb_build_object('queue', case when w.queue <> t.queue then t.queue end, 'priority', case when w.priority <> t.priority then t.priority end,
                                                   'run_at', case when w.run_at <> t.run_at then t.run_at end)) as after
  ), remembered as (
    insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, actor, data)
    select clock, n.id, 'edit', n.kind, n.step, n.attempt, n.epoch, session_user, jsonb_build_object('before', n.before, 'after', n.after) from now_so n order by n.id
  )
  select coalesce(array_agg(n.id), '{}'), array_agg(distinct n.queue) filter (where n.status = 'queued') into edited, queues from now_so n;
  perform howdah.wake(q) from unnest(queues) q;
  return query
  select t.id, case when t.id = any (edited) then 'edited' when x.why is null then 'unchanged' else 'skipped' end, x.why
    from howdah.task t
    cross join lateral (select case when t.status = 'running' then 'it is running'
                                    when due is null then null
                                    when t.status = 'failed' then 'it is parked: it is due when it is resumed'
                                    when t.status = 'suspended' and t.joining then 'it waits for its children' end as why) x
   where t.id = any (page.free)
  union all select o.id, 'skipped', o.why from jsonb_to_recordset(page.others) o (id bigint, why text)
   order by 1;
end
$$;
comment on function howdah.edit_all(jsonb, text, int, interval, timestamptz, bigint, int) is
  'Change queue, priority or due time of the first at_most live tasks, ids ascending, that a filter finds. One row for each: edited, unchanged, or skipped and why. Go on with after = the highest id. What a filter may say: howdah.condition; how many it finds: howdah.count_tasks.';
