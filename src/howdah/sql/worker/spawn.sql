create or replace function howdah.spawn(families jsonb) returns void
language plpgsql
-- The hash joins are among the CTEs: as loops they would be quadratic in the family.
set jit = off set enable_seqscan = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
  taken text;
  draining boolean;
  keyed bigint[];
  terms interval[];
  held  record;
begin
  perform howdah.known_step(x.kind, x.step)
     from (select distinct x ->> 'kind' as kind, x ->> 'step' as step
             from jsonb_array_elements(spawn.families) f, jsonb_array_elements(f -> 'tasks') x
            where x -> 'known' is distinct from 'true') x;
  -- Children belong to what is being finished; so does what a task of that queue leaves behind. The trigger knows neither.
  draining := exists (select from howdah.queue q where q.draining_at is not null);
  if draining then
    perform howdah.check_open(coalesce(x ->> 'queue', (howdah.rules(x ->> 'kind', x ->> 'step')).queue))
       from jsonb_array_elements(spawn.families) f, jsonb_array_elements(f -> 'tasks') x
      where not f ? 'parent' and coalesce(x ->> 'queue', (howdah.rules(x ->> 'kind', x ->> 'step')).queue) is distinct from f ->> 'from';
    perform set_config('howdah.accepted', 'on', true);
  end if;
  with child as materialized (
    select (f ->> 'parent')::bigint as parent, x.*, e -> 'message' as message,        -- a JSON null is a message too
           k as rules, coalesce(x.key, howdah.filled(k.key, coalesce(x.payload, '{}'))) as own_key
      from jsonb_array_elements(spawn.families) f
      cross join lateral jsonb_array_elements(f -> 'tasks') e
      cross join lateral jsonb_to_record(e)
           x (id bigint, kind text, step text, queue text, priority int, delay double precision, run_at timestamptz, payload jsonb, key text, on_conflict text, source text,
             known boolean, groups text[], cost double precision, start_before timestamptz, finish_before timestamptz,
             start_within double precision, finish_within double precision, late text, unique_for double precision)
      left join lateral howdah.rules(x.kind, x.step) k on x.known is not true
  ), born as (
    insert into howdah.task (id, kind, step, queue, priority, run_at, payload, key, parent, inbox_seq, source, groups, cost, start_before, finish_before, late)
    overriding system value
    select c.id, c.kind, c.step, coalesce(c.queue, (c.rules).queue), coalesce(c.priority, (c.rules).priority),
           coalesce(c.run_at, clock + make_interval(secs => c.delay), clock + (c.rules).delay, clock),
           coalesce(c.payload, '{}'), c.own_key, c.parent, (c.message is not null)::int, c.source,
           case when c.groups <> '{}' then c.groups when c.groups is null then howdah.filled_groups((c.rules).groups, coalesce(c.payload, '{}')) end, coalesce(c.cost, (c.rules).cost),
           d.start_before, d.finish_before, case when num_nonnulls(d.start_before, d.finish_before) > 0 then coalesce(c.late, (c.rules).late, 'drop') end
      from child c
      cross join lateral (select coalesce(c.start_before, clock + make_interval(secs => c.start_within), clock + (c.rules).start_within) as start_before,
                                 coalesce(c.finish_before, clock + make_interval(secs => c.finish_within), clock + (c.rules).finish_within) as finish_before) d
     where not exists (select from howdah.key h where h.key = c.own_key and h.until > clock)
     order by c.own_key collate "C", c.id        -- two that spawn the same keys wait for each other in one order
    on conflict (key) where key is not null do nothing
    returning id, key
  ), told as (
    insert into howdah.message (task_id, sender, body, sent_at)
    select c.id, c.parent, c.message, clock from child c join born b on b.id = c.id where c.message is not null order by c.id
  )
  select min(c.own_key) filter (where b.id is null and c.on_conflict is distinct from 'skip'), array_agg(b.id) filter (where b.key is not null),
         array_agg(coalesce(make_interval(secs => c.unique_for), (c.rules).unique_for)) filter (where b.key is not null)
    into taken, keyed, terms
    from child c left join born b on b.id = c.id;
  if draining then
    perform set_config('howdah.accepted', '', true);
  end if;
  if taken is not null then
    select * into held from howdah.held(taken);
    raise exception using errcode = 'HW006', detail = coalesce(held.task_id::text, ''),
      message = format('key %L, of a task that was to be spawned, is held by task %s (%s, %s)', taken, held.task_id, held.kind, held.status),
      hint = 'Spawn it without a key, or under another';
  elsif keyed is null then
    return;
  end if;
  perform howdah.reserve_keys(array_agg(x.id), x.term) from unnest(keyed, terms) x (id, term) where x.term is not null group by x.term;
  -- Another may have come, reserved one and ended since we looked; see put. Whoever tries again sees it.
  if exists (select from howdah.task t join howdah.key k on k.key = t.key
              where t.id = any (keyed) and k.task_id <> t.id and k.until > clock) then
    raise exception using errcode = '40001', message = 'a key of a task that was to be spawned was taken in the same moment', hint = 'Try again';
  end if;
end
$$;
comment on function howdah.spawn(jsonb) is
  'Write children, under ids from howdah.reserve_ids: a JSON array of {parent, from (the queue of a task that leaves tasks behind, which are nobody''s children), tasks: [{id, kind, step, queue, priority, delay (seconds) or run_at, payload, key, on_conflict (skip: not if its key is taken), unique_for (seconds), source, groups, cost, start_before or start_within (seconds), finish_before or finish_within, late, known (the kind need not be asked for what is left out), message (the first in its inbox)}]}; without a parent they are nobody''s children. What is left out comes from the kind. Errors: HW001 unknown kind, HW002 unknown step, HW006 key held.';
