create or replace function howdah.due(delay interval, run_at timestamptz) returns timestamptz
language plpgsql
as $$
begin
  if delay < '0' then
    raise exception using errcode = 'HW002', message = format('delay must not be negative: %s', delay), hint = 'Leave it out for the delay of the kind';
  elsif delay is not null and run_at is not null then
    raise exception using errcode = 'HW002', message = 'delay and run_at were both given', hint = 'Give one of them';
  elsif not isfinite(run_at) then
    raise exception using errcode = 'HW002', message = format('run_at must be a point in time, not %s', run_at), hint = 'Leave it out for a task that is due now';
  end if;
  return coalesce(run_at, howdah.now() + coalesce(delay, '0'));
end
$$;
comment on function howdah.due(interval, timestamptz) is 'When a task with this delay or at this time is due; neither: now. Error HW002 for what cannot be meant.';
