-- One row each. What the row remembers of its past stays: a pause, the counts, and the place in time, unless its times are others now.
create or replace function howdah.put_schedules(schedules jsonb, declared boolean) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  changed int;
begin
  perform howdah.check_schedule(jsonb_populate_record(null::howdah.schedule, '{"payload": {}, "timezone": "UTC", "missed": "latest", "overlap": "allow", "jitter": "0"}' || jsonb_strip_nulls(e)))
     from jsonb_array_elements(put_schedules.schedules) e;
  insert into howdah.schedule as s
         (name, kind, step, payload, queue, priority, cron, every, timezone, missed, overlap, jitter, starts_at, ends_at, anchor, declared, after, created_at, updated_at)
  select n.name, n.kind, n.step, coalesce(n.payload, '{}'), n.queue, n.priority, n.cron, n.every, coalesce(n.timezone, 'UTC'),
         coalesce(n.missed, 'latest'), coalesce(n.overlap, 'allow'), coalesce(n.jitter, '0'), n.starts_at, n.ends_at,
         coalesce(n.starts_at, clock + coalesce(n.every, '0') * random()), put_schedules.declared, clock, clock, clock
    from jsonb_array_elements(put_schedules.schedules) e
    cross join lateral jsonb_populate_record(null::howdah.schedule, e) n
   order by n.name                                  -- and so they are locked
  on conflict (name) do update
     set kind = excluded.kind, step = excluded.step, payload = excluded.payload, queue = excluded.queue, priority = excluded.priority,
         cron = excluded.cron, every = excluded.every, timezone = excluded.timezone, missed = excluded.missed, overlap = excluded.overlap,
         jitter = excluded.jitter, starts_at = excluded.starts_at, ends_at = excluded.ends_at, declared = excluded.declared,
         anchor = case when (s.every, s.starts_at) is distinct from (excluded.every, excluded.starts_at) then excluded.anchor else s.anchor end,
         after = case when s.retired_at is null and (s.cron, s.every, s.timezone, s.starts_at, s.ends_at) is not distinct from
                                                    (excluded.cron, excluded.every, excluded.timezone, excluded.starts_at, excluded.ends_at)
                      then s.after else greatest(clock, s.after) end,
         next_at = case when s.retired_at is null and (s.cron, s.every, s.timezone, s.starts_at, s.ends_at) is not distinct from
                                                      (excluded.cron, excluded.every, excluded.timezone, excluded.starts_at, excluded.ends_at)
                        then s.next_at end,
         over = false, error = null, retired_at = null, updated_at = clock
   where s.retired_at is not null or s.error is not null
      or (s.kind, s.step, s.payload, s.queue, s.priority, s.cron, s.every, s.timezone, s.missed, s.overlap, s.jitter, s.starts_at, s.ends_at, s.declared)
         is distinct from
         (excluded.kind, excluded.step, excluded.payload, excluded.queue, excluded.priority, excluded.cron, excluded.every, excluded.timezone,
          excluded.missed, excluded.overlap, excluded.jitter, excluded.starts_at, excluded.ends_at, excluded.declared);
  get diagnostics changed = row_count;
  if changed > 0 then
    -- A worker that sleeps until the next tick it knows of must hear of an earlier one.
    perform pg_notify('howdah', 'schedules');
  end if;
end
$$;
comment on function howdah.put_schedules(jsonb, boolean) is
  'Write schedules, a JSON array of objects with the columns of howdah.schedule. declared: by the code of a worker. Error HW002 for what cannot be meant.';
