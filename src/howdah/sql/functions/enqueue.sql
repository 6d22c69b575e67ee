create or replace function howdah.enqueue(
  kind        text,
  payload     jsonb default '{}',
  queue       text default null,
  priority    int default null,
  delay       interval default null,
  run_at      timestamptz default null,
  key         text default null,
  on_conflict text default null,
  step        text default null,
  groups      text[] default null,
  cost        double precision default null,
  start_before  timestamptz default null,
  finish_before timestamptz default null,
  late        text default null,
  unique_for  interval default null,
  start_within  interval default null,
  finish_within interval default null
) returns bigint
language plpgsql
as $$
declare
  k howdah.kind := howdah.known_step(enqueue.kind, enqueue.step);
begin
  enqueue.key := coalesce(enqueue.key, howdah.filled(k.key, enqueue.payload));
  if enqueue.unique_for is not null and enqueue.key is null then
    raise exception using errcode = 'HW002', message = 'unique_for was given, and there is no key', hint = 'Give a key: it is what is unique';
  end if;
  enqueue.start_before := coalesce(enqueue.start_before, howdah.now() + coalesce(enqueue.start_within, k.start_within));
  enqueue.finish_before := coalesce(enqueue.finish_before, howdah.now() + coalesce(enqueue.finish_within, k.finish_within));
  return howdah.put(enqueue.kind, enqueue.payload, coalesce(enqueue.queue, k.queue), coalesce(enqueue.priority, k.priority),
                    case when enqueue.run_at is null then coalesce(enqueue.delay, k.delay) else enqueue.delay end,
                    enqueue.run_at, enqueue.key, coalesce(enqueue.on_conflict, k.on_conflict), enqueue.step,
                    groups => case when enqueue.groups = '{}' then null else coalesce(enqueue.groups, howdah.filled_groups(k.groups, enqueue.payload)) end,
                    cost => coalesce(enqueue.cost, k.cost), start_before => enqueue.start_before, finish_before => enqueue.finish_before,
                    late => coalesce(enqueue.late, case when num_nonnulls(enqueue.start_before, enqueue.finish_before) > 0 then k.late end),
                    unique_for => coalesce(enqueue.unique_for, k.unique_for),
                    timed => num_nonnulls(enqueue.delay, enqueue.run_at) > 0);
end
$$;
comment on function howdah.enqueue(text, jsonb, text, int, interval, timestamptz, text, text, text, text[], double precision, timestamptz, timestamptz, text, interval, interval, interval) is
  'Put a task in its queue, in the caller''s transaction; returns its id. What is NULL comes from the kind, or from the step for a state machine, which needs step; groups = {}: none. unique_for: the key stays taken for so long from now, also when the task has ended; interval ''1000 years'' is for good. on_conflict, if the key is taken: return the id of the task that holds it, raise HW006, skip (returns NULL), replace the payload and time of that task, or merge the payload into it, which keeps its time unless delay or run_at is given.';
