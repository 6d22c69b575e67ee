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
  finish_within interval default null,
  key         text default null,
  on_conflict text default null,
  unique_for  interval default null
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
  enqueue_many.key := coalesce(enqueue_many.key, defaults.key);
  if enqueue_many.unique_for is not null and enqueue_many.key is null then
    raise exception using errcode = 'HW002', message = 'unique_for was given, and there is no key', hint = 'Give a key: it is what is unique';
  elsif enqueue_many.key is not null then
    return query
    select m.id from howdah.put_many(
      enqueue_many.kind,
      (select coalesce(jsonb_agg(jsonb_build_object('payload', p, 'key', howdah.filled(enqueue_many.key, p),
                                           'groups', howdah.filled_groups(coalesce(enqueue_many.groups, defaults.groups), p)) order by n), '[]')
         from jsonb_array_elements(enqueue_many.payloads) with ordinality x (p, n)),
      coalesce(enqueue_many.queue, defaults.queue), coalesce(enqueue_many.priority, defaults.priority),
      case when enqueue_many.run_at is null then coalesce(enqueue_many.delay, defaults.delay) else enqueue_many.delay end, enqueue_many.run_at,
      coalesce(enqueue_many.on_conflict, defaults.on_conflict), enqueue_many.step, coalesce(enqueue_many.cost, defaults.cost),
      enqueue_many.start_before, enqueue_many.finish_before,
      coalesce(enqueue_many.late, case when num_nonnulls(enqueue_many.start_before, enqueue_many.finish_before, enqueue_many.start_within, enqueue_many.finish_within,
                                                        defaults.start_within, defaults.finish_within) > 0 then defaults.late end),
      coalesce(enqueue_many.unique_for, defaults.unique_for),
      coalesce(enqueue_many.start_within, case when enqueue_many.start_before is null then defaults.start_within end),
      coalesce(enqueue_many.finish_within, case when enqueue_many.finish_before is null then defaults.finish_within end),
      num_nonnulls(enqueue_many.delay, enqueue_many.run_at) > 0) m
     where m.written or coalesce(enqueue_many.on_conflict, defaults.on_conflict) <> 'skip'
     order by m.position;
    return;
  end if;
  due := howdah.due(case when enqueue_many.run_at is null then coalesce(enqueue_many.delay, defaults.delay) else enqueue_many.delay end,
                    enqueue_many.run_at);
  enqueue_many.start_before := coalesce(enqueue_many.start_before, howdah.now() + coalesce(enqueue_many.start_within, defaults.start_within));
  enqueue_many.finish_before := coalesce(enqueue_many.finish_before, howdah.now() + coalesce(enqueue_many.finish_within, defaults.finish_within));
  enqueue_many.late := coalesce(enqueue_many.late, case when num_nonnulls(enqueue_many.start_before, enqueue_many.finish_before) > 0 then defaults.late end);
  enqueue_many.cost := coalesce(enqueue_many.cost, defaults.cost);
  perform howdah.check_limits(enqueue_many.cost, enqueue_many.start_before, enqueue_many.finish_before, enqueue_many.late);
  return query
  insert into howdah.task (kind, queue, priority, run_at, payload, step, groups, cost, start_before, finish_before, late)
  select enqueue_many.kind, coalesce(enqueue_many.queue, defaults.queue), coalesce(enqueue_many.priority, defaults.priority),
         due, p, enqueue_many.step,
         howdah.filled_groups(coalesce(enqueue_many.groups, defaults.groups), p),
         enqueue_many.cost, enqueue_many.start_before, enqueue_many.finish_before, enqueue_many.late
    from jsonb_array_elements(enqueue_many.payloads) with ordinality x (p, n) order by n
  returning id;
end
$$;
comment on function howdah.enqueue_many(text, jsonb, text, int, interval, timestamptz, text, text[], double precision, timestamptz, timestamptz, text, interval, interval, text, text, interval) is
  'Put many tasks of one kind in their queue; payloads is a JSON array of objects. key and groups are templates: {name} stands for a field of the payload. Returns their ids, in order. Where a key is taken, be it by another of them: the id of the task that holds it; with on_conflict = skip nothing; with raise error HW006, and none is written.';
