create or replace function howdah.enqueue(
  kind        text,
  payload     jsonb default '{}',
  queue       text default null,
  priority    int default null,
  delay       interval default null,
  run_at      timestamptz default null,
  key         text default null,
  on_conflict text default 'return',
  step        text default null
) returns bigint
language plpgsql
as $$
declare
  defaults howdah.kind := howdah.known_step(enqueue.kind, enqueue.step);
begin
  return howdah.put(enqueue.kind, enqueue.payload, coalesce(enqueue.queue, defaults.queue), coalesce(enqueue.priority, defaults.priority),
                    case when enqueue.run_at is null then coalesce(enqueue.delay, defaults.delay) else enqueue.delay end,
                    enqueue.run_at, enqueue.key, enqueue.on_conflict, enqueue.step);
end
$$;
comment on function howdah.enqueue(text, jsonb, text, int, interval, timestamptz, text, text, text) is
  'Put a task in its queue, in the caller''s transaction; returns its id. What is NULL comes from the kind, or from the step for a state machine, which needs step. If a live task holds the key: return its id, raise HW006, skip (returns NULL) or replace its payload and time.';
