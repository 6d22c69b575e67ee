create or replace function howdah.cancel_all(filter jsonb, reason text default null, cascade boolean default true, after bigint default 0, at_most int default 1000)
returns table (id bigint, outcome text, why text)
language plpgsql
-- Members of a family are locked beside the page, and not in the order of ids: so nobody waits long enough for a deadlock.
set lock_timeout = '300ms'
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  page    record;
  alone   bigint[];
  asked   bigint[];
  workers uuid[];
begin
  select * into page from howdah.lock_page(howdah.meant(cancel_all.filter), cancel_all.after, cancel_all.at_most);
  -- Those that tell nobody and have nobody, in one go. What is locked spawns nothing more.
  alone := array(select t.id from howdah.task t
                  where t.id = any (page.free) and (t.parent is null or t.status = 'running')
                    and not (cancel_all.cascade and exists (select from howdah.task c where c.parent = t.id)));
  with stopping as (
    update howdah.task t set cancel_at = coalesce(t.cancel_at, clock), reason = coalesce(cancel_all.reason, t.reason)
     where t.id = any (alone) and t.status = 'running' returning t.id, t.worker
  )
  select coalesce(array_agg(s.id), '{}'), array_agg(distinct s.worker) into asked, workers from stopping s;
  perform pg_notify('howdah', 'beat ' || w) from unnest(workers) w;
  with gone as (
    delete from howdah.task t where t.id = any (alone) and t.status <> 'running' returning t.*
  ), remembered as (
    insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, message, actor)
    select clock, g.id, 'cancel', g.kind, g.step, g.attempt, g.epoch, cancel_all.reason, session_user from gone g order by g.id
  )
  insert into howdah.archive (id, kind, queue, status, priority, run_at, step, payload, key, attempt, lost, epoch, worker, claimed_at, reason,
                              progress, last_error, created_at, finished_at, parent, source, tick, groups, cost, start_before, finish_before, late)
  select g.id, g.kind, g.queue, 'cancelled', g.priority, g.run_at, g.step, g.payload, g.key, g.attempt, g.lost, g.epoch, g.worker, g.claimed_at,
         coalesce(cancel_all.reason, g.reason), g.progress, coalesce(g.error, g.last_error), g.created_at, clock, g.parent, g.source, g.tick,
         g.groups, g.cost, g.start_before, g.finish_before, g.late
    from gone g where not exists (select from howdah.kind k where k.name = g.kind and k.keep is null);
  perform howdah.empty_inboxes(array(select a from unnest(alone) a where a <> all (asked)));
  return query select a, case when a = any (asked) then 'running' else 'cancelled' end, null::text from unnest(alone) a;

  -- Families, one after the other. A parent may take along its children, which come later.
  foreach id in array array(select x from unnest(page.free) x where x <> all (alone) order by x) loop
    begin
      why := null;
      outcome := howdah.cancel(id, cancel_all.reason, cancel_all.cascade);
    exception
      when lock_not_available or deadlock_detected then
        outcome := 'skipped';
        why := 'another transaction holds it or one of its family';
      when sqlstate 'HW004' then
        outcome := 'cancelled';                      -- with its parent, and its kind keeps nothing
    end;
    return next;
  end loop;
  return query select o.id, 'skipped', o.why from jsonb_to_recordset(page.others) o (id bigint, why text);
end
$$;
comment on function howdah.cancel_all(jsonb, text, boolean, bigint, int) is
  'Cancel the first at_most live tasks, ids ascending, that a filter finds. One row for each: cancelled, running (asked to stop), or skipped and why. Go on with after = the highest id. What a filter may say: howdah.condition; how many it finds: howdah.count_tasks.';
