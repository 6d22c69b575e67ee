create or replace function howdah.pause_schedule(name text, reason text default null) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  s howdah.schedule := howdah.known_schedule(pause_schedule.name);
begin
  update howdah.schedule x
     set paused_at = coalesce(x.paused_at, howdah.now()), paused_by = session_user, reason = pause_schedule.reason
   where x.name = s.name;
end
$$;
comment on function howdah.pause_schedule(text, text) is 'Let a schedule fire nothing more, also over restarts of workers that declare it. Error HW009: no such schedule.';
