create or replace function howdah.check_edit(queue text, delay interval, run_at timestamptz) returns timestamptz
language plpgsql
as $$
begin
  if length(check_edit.queue) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'queue must be a name of 1 to 200 characters', hint = 'Leave it out for the queue the task is in';
  end if;
  perform howdah.check_open(check_edit.queue);
  return case when num_nonnulls(check_edit.delay, check_edit.run_at) > 0 then howdah.due(check_edit.delay, check_edit.run_at) end;
end
$$;
comment on function howdah.check_edit(text, interval, timestamptz) is 'When an edited task is to be due; NULL: as before. Errors: HW002 for what cannot be meant, HW010 the queue takes no more tasks.';
