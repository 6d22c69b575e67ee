create or replace function howdah.cancel_one(id bigint, reason text) returns text
language plpgsql
as $$
#variable_conflict use_column
declare
  live howdah.task;
begin
  select * into live from howdah.task t where t.id = cancel_one.id for no key update;
  if not found then
    return null;
  elsif live.status = 'running' then
    update howdah.task t set cancel_at = coalesce(t.cancel_at, howdah.now()), reason = coalesce(cancel_one.reason, t.reason) where t.id = cancel_one.id;
    perform pg_notify('howdah', 'beat ' || live.worker);
    return 'running';
  end if;
  delete from howdah.task t where t.id = cancel_one.id;
  perform howdah.bury(live, 'cancelled', null, cancel_one.reason);
  insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, message, actor)
  values (howdah.now(), live.id, 'cancel', live.kind, live.step, live.attempt, live.epoch, cancel_one.reason, session_user);
  return 'cancelled';
end
$$;
comment on function howdah.cancel_one(bigint, text) is 'Cancel this task alone. NULL if it is not there.';
