create or replace function howdah.schedule_failed(schedule text, seen timestamptz, error text) returns void
language sql
as $$
  update howdah.schedule s set error = left(schedule_failed.error, 1000)
   where s.name = schedule_failed.schedule and s.after = schedule_failed.seen and s.error is distinct from left(schedule_failed.error, 1000)
$$;
comment on function howdah.schedule_failed(text, timestamptz, text) is 'Say in the row why a schedule cannot fire.';
