create or replace function howdah.resume_schedule(name text) returns boolean
language plpgsql
as $$
#variable_conflict use_column
declare
  s howdah.schedule := howdah.known_schedule(resume_schedule.name);
begin
  if s.paused_at is null then
    return false;
  end if;
  update howdah.schedule x
     set paused_at = null, paused_by = null, reason = null, after = greatest(x.after, howdah.now()), next_at = null, over = false
   where x.name = s.name;
  perform pg_notify('howdah', 'schedules');
  return true;
end
$$;
comment on function howdah.resume_schedule(text) is 'Undo pause_schedule: it goes on with the next tick from now. False if it was not paused. Error HW009: no such schedule.';
