create or replace function howdah.retry(id bigint) returns text
language plpgsql
as $$
#variable_conflict use_column
declare
  live howdah.task;
begin
  select * into live from howdah.task t where t.id = retry.id for no key update;
  if not found then
    if exists (select from howdah.archive a where a.id = retry.id) then
      raise exception using errcode = 'HW005', message = format('task %s has already ended', retry.id), hint = 'Enqueue it again instead';
    end if;
    raise exception using errcode = 'HW004', message = format('there is no task %s', retry.id),
      hint = 'It never existed, was rolled back, or its retention is over';
  elsif live.status = 'running' then
    raise exception using errcode = 'HW005', message = format('task %s is running', retry.id), hint = 'Cancel it first, or wait';
  elsif live.status = 'failed' then
    update howdah.task t set error = null where t.id = retry.id;       -- the trigger resume does the rest
    return 'resumed';
  end if;
  -- Unless they are gone by hand: then nobody will wake it but you.
  if live.status = 'suspended' and live.joining and exists (select from howdah.task c where c.parent = retry.id and not c.told) then
    raise exception using errcode = 'HW005', message = format('task %s waits for %s of its children', retry.id, live.children),
      hint = 'It goes on by itself with the last of them; see: howdah ls --parent ' || retry.id;
  end if;
  update howdah.task t
     set status = 'queued', run_at = least(t.run_at, howdah.now()), start_before = null, finish_before = null, late = null,
         children = case when live.status = 'suspended' and live.joining then 0 else t.children end
   where t.id = retry.id;
  perform howdah.wake(live.queue);
  return 'due now';
end
$$;
comment on function howdah.retry(bigint) is
  'Go on with a failed task from the step it stands at (returns resumed), or make a waiting one due now (returns due now). Either way it has no deadline any more. Errors: HW004 no such task, HW005 running or already ended.';
