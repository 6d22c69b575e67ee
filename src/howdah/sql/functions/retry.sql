create or replace function howdah.retry(id bigint) returns text
language plpgsql
as $$
#variable_conflict use_column
declare
  live howdah.task := howdah.known_task(retry.id);
begin
  if live.status = 'failed' then
    update howdah.task t set error = null where t.id = retry.id;       -- the trigger resume does the rest
    return 'resumed';
  end if;
  -- Unless they are gone by hand: then nobody will wake it but you.
  if live.status = 'suspended' and live.joining and exists (select from howdah.task c where c.parent = retry.id and not c.told) then
    raise exception using errcode = 'HW005', message = format('task %s waits for %s of its children', retry.id, live.children),
      hint = 'It goes on by itself with the last of them; see: howdah ls --parent ' || retry.id;
  end if;
  perform howdah.make_due(array[live.id]);
  return 'due now';
end
$$;
comment on function howdah.retry(bigint) is
  'Go on with a failed task from the step it stands at (returns resumed), or make a waiting one due now (returns due now). Either way it has no deadline any more. Errors: HW004 no such task, HW005 running or already ended.';
