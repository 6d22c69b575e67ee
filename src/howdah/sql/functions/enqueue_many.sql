create or replace function howdah.enqueue_many(
  kind     text,
  payloads jsonb,
  queue    text default null,
  priority int default null,
  delay    interval default null,
  run_at   timestamptz default null,
  step     text default null,
  groups   text[] default null,
  cost     double precision default null,
  start_before  timestamptz default null,
  finish_before timestamptz default null,
  late     text default null,
  start_within  interval default null,
  finish_within interval default null
) returns setof bigint
language plpgsql
as $$
#variable_conflict use_column
declare
  defaults howdah.kind := howdah.known_step(enqueue_many.kind, enqueue_many.step);
  due      timestamptz;
begin
  if jsonb_typeof(enqueue_many.payloads) is distinct from 'array'
     or exists (select from jsonb_array_elements(enqueue_many.payloads) p where jsonb_typeof(p) <> 'object') then
    raise exception using errcode = 'HW003', message = 'payloads must be a JSON array of objects', hint = 'Write it like [{"user_id": 42}, {"user_id": 43}]';
  elsif length(enqueue_many.queue) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'queue must be a name of 1 to 200 characters', hint = 'Leave it out for the queue of the kind';
  end if;
  due := howdah.due(case when enqueue_many.run_at is null then coalesce(enqueue_many.delay, defaults.delay) else enqueue_many.delay end,
                    enqueue_many.run_at);
  enqueue_many.start_before := coalesce(enqueue_many.start_before, howdah.now() + coalesce(enqueue_many.start_within, defaults.start_within));
  enqueue_many.finish_before := coalesce(enqueue_many.finish_before, howdah.now() + coalesce(enqueue_many.finish_within, defaults.finish_within));
  enqueue_many.late := coalesce(enqueue_many.late, case when num_nonnulls(enqueue_many.start_before, enqueue_many.finish_before) > 0 then defaults.late end);
  enqueue_many.cost := coalesce(enqueue_many.cost, defaults.cost);
  perform howdah.check_limits(nullif(enqueue_many.groups, '{}'), enqueue_many.cost, enqueue_many.start_before, enqueue_many.finish_before, enqueue_many.late);
  return query
  insert into howdah.task (kind, queue, priority, run_at, payload, step, groups, cost, start_before, finish_before, late)
  select enqueue_many.kind, coalesce(enqueue_many.queue, defaults.queue), coalesce(enqueue_many.priority, defaults.priority),
         due, p, enqueue_many.step,
         case when enqueue_many.groups = '{}' then null else coalesce(enqueue_many.groups, howdah.filled_groups(defaults.groups, p)) end,
         enqueue_many.cost, enqueue_many.start_before, enqueue_many.finish_before, enqueue_many.late
    from jsonb_array_elements(enqueue_many.payloads) with ordinality x (p, n) order by n
  returning id;
end
$$;
comment on function howdah.enqueue_many(text, jsonb, text, int, interval, timestamptz, text, text[], double precision, timestamptz, timestamptz, text, interval, interval) is
  'Put many tasks of one kind in their queue; payloads is a JSON array of objects. Returns their ids, in order.';
