create or replace function howdah.schedule(
  name      text,
  kind      text,
  cron      text default null,
  every     interval default null,
  payload   jsonb default '{}',
  step      text default null,
  queue     text default null,
  priority  int default null,
  timezone  text default 'UTC',
  missed    text default 'latest',
  overlap   text default 'allow',
  jitter    interval default '0',
  starts_at timestamptz default null,
  ends_at   timestamptz default null
) returns void
language plpgsql
as $$
begin
  perform howdah.known_step(schedule.kind, schedule.step);
  perform howdah.put_schedules(jsonb_build_array(jsonb_build_object(
    'name', schedule.name, 'kind', schedule.kind, 'cron', schedule.cron, 'every', schedule.every, 'payload', schedule.payload,
    'step', schedule.step, 'queue', schedule.queue, 'priority', schedule.priority, 'timezone', schedule.timezone,
    'missed', schedule.missed, 'overlap', schedule.overlap, 'jitter', schedule.jitter, 'starts_at', schedule.starts_at,
    'ends_at', schedule.ends_at)), false);
end
$$;
comment on function howdah.schedule(text, text, text, interval, jsonb, text, text, int, text, text, text, interval, timestamptz, timestamptz) is
  'Have a task of this kind enqueued at each tick of cron (five fields, or six with the seconds first, or @daily and the like) or every so much time. Replaces the schedule of this name, without ending a pause. Errors: HW001 unknown kind, HW002 what cannot be meant.';
