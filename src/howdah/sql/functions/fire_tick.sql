create or replace function howdah.fire_tick(s howdah.schedule, tick timestamptz, in_line boolean) returns bigint
language plpgsql
as $$
#variable_conflict use_column
declare
  defaults howdah.kind := howdah.known_step(s.kind, s.step);
  fired    bigint;
begin
  insert into howdah.task (kind, step, payload, queue, priority, status, run_at, source, tick, groups, cost, start_before, finish_before, late)
  values (s.kind, s.step, s.payload, coalesce(s.queue, defaults.queue), coalesce(s.priority, defaults.priority),
          case when in_line then 'suspended' else 'queued' end,
          case when in_line then 'infinity' else fire_tick.tick + s.jitter * random() end, 'schedule:' || s.name, fire_tick.tick,
          howdah.filled_groups(defaults.groups, s.payload), defaults.cost, fire_tick.tick + defaults.start_within, fire_tick.tick + defaults.finish_within,
          case when num_nonnulls(defaults.start_within, defaults.finish_within) > 0 then defaults.late end)
  on conflict (source, tick) where source is not null do nothing
  returning id into fired;
  return fired;
end
$$;
comment on function howdah.fire_tick(howdah.schedule, timestamptz, boolean) is
  'The task of one tick; NULL if it is there. in_line: it waits until the one before it has ended.';
