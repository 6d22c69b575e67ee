create or replace function howdah.spawn(families jsonb) returns void
language plpgsql
-- The hash joins are among the CTEs: as loops they would be quadratic in the family.
set enable_seqscan = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
  taken text;
begin
  perform howdah.known_step(x.kind, x.step)
     from (select distinct x ->> 'kind' as kind, x ->> 'step' as step
             from jsonb_array_elements(spawn.families) f, jsonb_array_elements(f -> 'tasks') x
            where x ->> 'queue' is null or x ->> 'priority' is null or coalesce(x ->> 'delay', x ->> 'run_at') is null) x;
  with child as materialized (
    select (f ->> 'parent')::bigint as parent, x.*, e -> 'message' as message         -- a JSON null is a message too
      from jsonb_array_elements(spawn.families) f
      cross join lateral jsonb_array_elements(f -> 'tasks') e
      cross join lateral jsonb_to_record(e)
           x (id bigint, kind text, step text, queue text, priority int, delay double precision, run_at timestamptz, payload jsonb, key text, on_conflict text, source text)
  ), born as (
    insert into howdah.task (id, kind, step, queue, priority, run_at, payload, key, parent, inbox_seq, source)
    overriding system value
    select c.id, c.kind, c.step, coalesce(c.queue, k.queue), coalesce(c.priority, k.priority),
           coalesce(c.run_at, clock + make_interval(secs => c.delay), clock + k.delay, clock),
           coalesce(c.payload, '{}'), c.key, c.parent, (c.message is not null)::int, c.source
      from child c left join lateral howdah.rules(c.kind, c.step) k
             on c.queue is null or c.priority is null or coalesce(c.delay::text, c.run_at::text) is null
     order by c.key, c.id        -- two that spawn the same keys wait for each other in one order
    on conflict (key) where key is not null do nothing
    returning id
  ), told as (
    insert into howdah.message (task_id, sender, body, sent_at)
    select c.id, c.parent, c.message, clock from child c join born b on b.id = c.id where c.message is not null order by c.id
  )
  select min(c.key) into taken from child c where c.on_conflict is distinct from 'skip' and not exists (select from born b where b.id = c.id);
  if taken is not null then
    raise exception using errcode = 'HW006', message = format('key %L, of a task that was to be spawned, is held by a live task', taken),
      hint = 'Spawn it without a key, or under another';
  end if;
end
$$;
comment on function howdah.spawn(jsonb) is
  'Write children, under ids from howdah.reserve_ids: a JSON array of {parent, tasks: [{id, kind, step, queue, priority, delay (seconds) or run_at, payload, key, on_conflict (skip: not if its key is held), source, message (the first in its inbox)}]}; without a parent they are nobody''s children. What is left out comes from the kind. Errors: HW001 unknown kind, HW002 unknown step, HW006 key held.';
