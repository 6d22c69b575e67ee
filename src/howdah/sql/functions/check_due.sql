create or replace function howdah.check_due(live howdah.task) returns void
language plpgsql
as $$
begin
  if live.status = 'failed' then
    raise exception using errcode = 'HW005', message = format('task %s is parked: it is due when it is resumed', live.id),
      hint = format('howdah retry %s; or for later: UPDATE howdah.task SET error = NULL, run_at = … WHERE id = %s', live.id, live.id);
  elsif live.joining and live.status = 'suspended' then
    raise exception using errcode = 'HW005', message = format('task %s waits for its children, not for a time', live.id),
      hint = 'It goes on by itself with the last of them; see: howdah ls --parent ' || live.id;
  end if;
end
$$;
comment on function howdah.check_due(howdah.task) is 'Error HW005 for a task that is not due at a time: parked, or waiting for its children.';
