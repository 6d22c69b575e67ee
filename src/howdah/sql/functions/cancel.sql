create or replace function howdah.cancel(id bigint, reason text default null, cascade boolean default true) returns text
language plpgsql
as $$
#variable_conflict use_column
declare
  answer text;
  ended  text;
begin
  perform howdah.lock_family(cancel.id, cancel.cascade);
  answer := howdah.cancel_one(cancel.id, cancel.reason);
  if answer is null then
    select a.status into ended from howdah.archive a where a.id = cancel.id;
    if ended = 'cancelled' then
      return ended;
    elsif found then
      raise exception using errcode = 'HW005', message = format('task %s has already ended: %s', cancel.id, ended), hint = 'There is nothing left to cancel';
    end if;
    raise exception using errcode = 'HW004', message = format('there is no task %s', cancel.id),
      hint = 'It never existed, was rolled back, or its retention is over';
  end if;
  if cancel.cascade then
    perform howdah.cancel_children(array[cancel.id]);
  end if;
  return answer;
end
$$;
comment on function howdah.cancel(bigint, text, boolean) is
  'Cancel a task, and with cascade whatever it spawned. One that waits ends at once (returns cancelled); a running one is asked to stop and ends as cancelled unless it succeeds first (returns running). Errors: HW004 no such task, HW005 already ended.';
