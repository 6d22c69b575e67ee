create or replace function howdah.declare(kinds jsonb, overwrite boolean default false) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  if jsonb_typeof(declare.kinds) is distinct from 'array'
     or exists (select from jsonb_array_elements(declare.kinds) e where coalesce(length(e ->> 'name'), 0) not between 1 and 200) then
    raise exception using errcode = 'HW002', message = 'kinds must be a JSON array of objects, each with a name of 1 to 200 characters',
      hint = 'Write it like [{"name": "welcome", "queue": "mail"}]';
  end if;
  perform howdah.check_kinds(declare.kinds);
  insert into howdah.kind as k
         (name, queue, priority, delay, max_attempts, max_lost, retry_delay, retry_factor, retry_max, timeout, executor, keep, signature, description, steps, inbox,
          key, unique_for, on_conflict, groups, cost, strategy, start_within, finish_within, late, batch, batch_wait, warn, alarm)
  select n.name, coalesce(n.queue, 'default'), coalesce(n.priority, 0), coalesce(n.delay, '0'), coalesce(n.max_attempts, 6),
         coalesce(n.max_lost, 3), coalesce(n.retry_delay, '1 s'), coalesce(n.retry_factor, 2), coalesce(n.retry_max, '10 min'),
         n.timeout, coalesce(n.executor, 'loop'), case when e.value ? 'keep' then n.keep else '7 days' end, n.signature, n.description,
         n.steps, n.inbox, n.key, n.unique_for, coalesce(n.on_conflict, 'return'), n.groups, n.cost, coalesce(n.strategy, 'standard'),
         n.start_within, n.finish_within, coalesce(n.late, 'drop'), n.batch, n.batch_wait, n.warn, n.alarm
    from jsonb_array_elements(declare.kinds) e (value)
    cross join lateral jsonb_populate_record(null::howdah.kind, e.value) n
   -- Not by ON CONFLICT alone: that locks the rows it leaves as they are.
   where declare.overwrite or not exists (select from howdah.kind o where o.name = n.name)
   order by n.name
  on conflict (name) do update
     set queue = excluded.queue, priority = excluded.priority, delay = excluded.delay,
         max_attempts = excluded.max_attempts, max_lost = excluded.max_lost,
         retry_delay = excluded.retry_delay, retry_factor = excluded.retry_factor, retry_max = excluded.retry_max,
         timeout = excluded.timeout, executor = excluded.executor, keep = excluded.keep,
         signature = excluded.signature, description = excluded.description,
         steps = excluded.steps, inbox = excluded.inbox, key = excluded.key, unique_for = excluded.unique_for,
         on_conflict = excluded.on_conflict, groups = excluded.groups, cost = excluded.cost, strategy = excluded.strategy,
         start_within = excluded.start_within, finish_within = excluded.finish_within, late = excluded.late,
         batch = excluded.batch, batch_wait = excluded.batch_wait, warn = excluded.warn, alarm = excluded.alarm, updated_at = howdah.now()
   where declare.overwrite
     and (k.queue, k.priority, k.delay, k.max_attempts, k.max_lost, k.retry_delay, k.retry_factor, k.retry_max, k.timeout, k.executor, k.keep, k.signature, k.description, k.steps, k.inbox,
          k.key, k.unique_for, k.on_conflict, k.groups, k.cost, k.strategy, k.start_within, k.finish_within, k.late, k.batch, k.batch_wait, k.warn, k.alarm)
         is distinct from
         (excluded.queue, excluded.priority, excluded.delay, excluded.max_attempts, excluded.max_lost, excluded.retry_delay, excluded.retry_factor, excluded.retry_max, excluded.timeout, excluded.executor, excluded.keep, excluded.signature, excluded.description, excluded.steps, excluded.inbox,
          excluded.key, excluded.unique_for, excluded.on_conflict, excluded.groups, excluded.cost, excluded.strategy, excluded.start_within, excluded.finish_within, excluded.late, excluded.batch, excluded.batch_wait, excluded.warn, excluded.alarm);
exception when check_violation then
  raise exception using errcode = 'HW002', message = format('a kind cannot be so: %s', sqlerrm), hint = 'What each field may be is said in its comment: \d+ howdah.kind';
end
$$;
comment on function howdah.declare(jsonb, boolean) is
  'Make kinds known, as a JSON array of objects with the columns of howdah.kind. Workers overwrite what is there; others only add: what is known already they change with UPDATE howdah.kind. Error HW002 for a field or value that cannot be meant.';
