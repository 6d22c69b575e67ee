create or replace function howdah.trigger(name text) returns bigint
language plpgsql
as $$
#variable_conflict use_column
declare
  s    howdah.schedule := howdah.known_schedule(trigger.name);
  tick timestamptz := howdah.now();
  task bigint;
begin
  s.jitter := '0';
  loop
    task := howdah.fire_tick(s, tick, false);
    exit when task is not null;
    tick := tick + interval '1 microsecond';         -- another has this very moment
  end loop;
  update howdah.schedule x set fired = x.fired + 1, last_task = task where x.name = s.name;
  return task;
end
$$;
comment on function howdah.trigger(text) is 'Fire a schedule once now, out of turn, also while it is paused or another task of it is live. Returns the id of the task. Error HW009: no such schedule.';
