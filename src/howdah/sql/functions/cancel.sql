create or replace function howdah.cancel(id bigint, reason text default null) returns text
language plpgsql
as $$
#variable_conflict use_column
declare
  live  howdah.task;
  ended text;
begin
  select * into live from howdah.task t where t.id = cancel.id for no key update;
  if not found then
    select a.status into ended from howdah.archive a where a.id = cancel.id;
    if ended = 'cancelled' then
      return ended;
    elsif found then
      raise exception using errcode = 'HW005', message = format('task %s has already ended: %s', cancel.id, ended), hint = 'There is nothing left to cancel';
    end if;
    raise exception using errcode = 'HW004', message = format('there is no task %s', cancel.id),
      hint = 'It never existed, was rolled back, or its retention is over';
  end if;
  if live.status = 'running' then
    update howdah.task t set cancel_at = coalesce(t.cancel_at, howdah.now()), reason = coalesce(cancel.reason, t.reason) where t.id = cancel.id;
    perform pg_notify('howdah', 'beat ' || live.worker);
    return 'running';
  end if;
  delete from howdah.task t where t.id = cancel.id;
  perform howdah.bury(live, 'cancelled', null, cancel.reason);
  insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, message, actor)
  values (howdah.now(), live.id, 'cancel', live.kind, live.step, live.attempt, live.epoch, cancel.reason, session_user);
  return 'cancelled';
end
$$;
comment on function howdah.cancel(bigint, text) is
  'Cancel a task. One that waits ends at once (returns cancelled); a running one is asked to stop and ends as cancelled unless it succeeds first (returns running). Errors: HW004 no such task, HW005 already ended.';
