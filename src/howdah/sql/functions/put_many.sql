-- As put, for many at once and in a few statements; what is replaced or merged goes one by one.
create or replace function howdah.put_many(
  kind        text,
  rows        jsonb,
  queue       text,
  priority    int,
  delay       interval,
  run_at      timestamptz,
  on_conflict text,
  step        text default null,
  cost        double precision default null,
  start_before  timestamptz default null,
  finish_before timestamptz default null,
  late        text default null,
  unique_for  interval default null,
  start_within  interval default null,
  finish_within interval default null,
  timed       boolean default true
) returns table ("position" int, id bigint, written boolean)
language plpgsql
-- By the indexes, whatever the statistics say of tables that were small a moment ago.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
-- Before PostgreSQL 18 what is off costs so much, where it is needed, that it is compiled.
set jit = off
as $$
#variable_conflict use_column
declare
  clock    timestamptz := howdah.now();
  due      timestamptz := howdah.due(put_many.delay, put_many.run_at);
  ids      bigint[];
  born     bigint[];
  holders  bigint[];
  places   int[];
  made     boolean[];
  again    text[];
  x        record;
begin
  if jsonb_typeof(put_many.rows) is distinct from 'array' or put_many.rows @? '$[*] ? (!(@.payload.type() == "object"))' then
    raise exception using errcode = 'HW003', message = 'rows must be a JSON array of objects, each with a payload that is an object',
      hint = 'Write it like [{"payload": {"user_id": 42}, "key": "welcome:42"}]';
  end if;
  select r.key into x from jsonb_to_recordset(put_many.rows) r (key text) where length(r.key) not between 1 and 500 limit 1;
  if found then
    raise exception using errcode = 'HW002', message = 'key must be 1 to 500 characters', hint = 'Leave it out for a task without a key';
  elsif put_many.on_conflict is null or put_many.on_conflict not in ('return', 'raise', 'skip', 'replace', 'merge') then
    raise exception using errcode = 'HW002',
      message = format('on_conflict must be return, raise, skip, replace or merge, not %L', put_many.on_conflict), hint = 'Leave it out for what the kind says';
  elsif put_many.unique_for <= '0' then
    raise exception using errcode = 'HW002', message = 'unique_for must be longer than nothing',
      hint = 'Leave it out for as long as the task is live; 1000 years is for good';
  end if;
  if put_many.on_conflict in ('replace', 'merge') then
    -- As everywhere, tasks that are there by their ids; what is new in the order of the keys, so that two batches wait for each other in one order; of one key in the order given.
    perform from howdah.task t where t.key = any (array(select r.key from jsonb_to_recordset(put_many.rows) r (key text))) order by t.id for no key update;
    for x in
      select * from rows from (jsonb_to_recordset(put_many.rows) as (payload jsonb, key text, groups text[])) with ordinality r (payload, key, groups, n)
       order by key collate "C" nulls last, n
    loop
      "position" := x.n;
      id := howdah.put(put_many.kind, x.payload, put_many.queue, put_many.priority, put_many.delay, put_many.run_at, x.key, put_many.on_conflict, put_many.step,
                       groups => x.groups, cost => put_many.cost, start_before => put_many.start_before, finish_before => put_many.finish_before,
                       late => put_many.late, unique_for => case when x.key is not null then put_many.unique_for end,
                       start_within => put_many.start_within, finish_within => put_many.finish_within, timed => put_many.timed);
      written := true;
      return next;
    end loop;
    return;
  end if;

  put_many.start_before := coalesce(put_many.start_before, clock + put_many.start_within);
  put_many.finish_before := coalesce(put_many.finish_before, clock + put_many.finish_within);
  perform howdah.check_limits(put_many.cost, put_many.start_before, put_many.finish_before, put_many.late);
  if put_many.on_conflict = 'raise' then
    select r.key, min(r.n) as first, (array_agg(r.n order by r.n))[2] as second into x
      from rows from (jsonb_to_recordset(put_many.rows) as (key text)) with ordinality r (key, n)
     where r.key is not null group by r.key having count(*) > 1 order by 2 limit 1;
    if found then
      raise exception using errcode = 'HW006', message = format('rows %s and %s have the same key %L', x.first, x.second, x.key),
        hint = 'Ask for on_conflict = return or skip, or leave one of them out';
    end if;
  end if;
  ids := array(select nextval(s.name) from generate_series(1, jsonb_array_length(put_many.rows)),
                    -- Looked up once: for each row it would take as long as to write it.
                    (select pg_get_serial_sequence('howdah.task', 'id')::regclass as name offset 0) s);
  loop
    -- In the order of the keys: two batches wait for each other in one order.
    with first as (
      select distinct on (r.key, case when r.key is null then r.n end) r.*
        from rows from (jsonb_to_recordset(put_many.rows) as (payload jsonb, key text, groups text[]), unnest(ids)) with ordinality r (payload, key, groups, id, n)
       where again is null or r.key = any (again)
       order by r.key, case when r.key is null then r.n end, r.n
    ), new as (
      insert into howdah.task (id, kind, queue, priority, run_at, payload, key, step, groups, cost, start_before, finish_before, late)
      overriding system value
      select f.id, put_many.kind, put_many.queue, put_many.priority, due, f.payload, f.key, put_many.step, nullif(f.groups, '{}'), put_many.cost,
             put_many.start_before, put_many.finish_before, put_many.late
        from first f
       where not exists (select from howdah.key k where k.key = f.key and k.until > clock)
       order by f.key collate "C" nulls first, f.n
      on conflict (key) where key is not null do nothing
      returning id
    )
    select array_agg(n.id) into born from new n;
    if put_many.unique_for is not null then
      perform howdah.reserve_keys(born, put_many.unique_for);
    end if;
    -- Another may have come, reserved one and ended since we looked; see put.
    delete from howdah.task t using howdah.key k
     where t.id = any (born) and k.key = t.key and k.task_id <> t.id and k.until > clock;

    select array_agg(h.n order by h.n), array_agg(h.holder order by h.n), array_agg(h.holder = h.id order by h.n),
           array_agg(h.key) filter (where h.holder is null)
      into places, holders, made, again
      from (select r.n, r.id, r.key, case when r.key is null then r.id else coalesce(t.id, k.task_id) end as holder
              from rows from (jsonb_to_recordset(put_many.rows) as (key text), unnest(ids)) with ordinality r (key, id, n)
              left join howdah.task t on t.key = r.key
              left join howdah.key k on k.key = r.key and k.until > clock) h;
    exit when again is null;                        -- else a holder has ended in between
  end loop;
  if put_many.on_conflict = 'raise' and false = any (made) then
    select r.key, h.* into x
      from rows from (jsonb_to_recordset(put_many.rows) as (key text), unnest(made)) with ordinality r (key, made, n)
      left join lateral howdah.held(r.key) h on true
     where not r.made order by r.n limit 1;
    perform howdah.refuse_key(x.key, coalesce(x.task_id, holders[array_position(made, false)]), x.kind,
                              case when x.status in ('queued', 'running', 'suspended', 'failed') then x.status end, 'raise',
                              case when x.status in ('queued', 'running', 'suspended', 'failed') then 'asked' else 'ended' end);
  end if;
  return query select * from unnest(places, holders, made);
end
$$;
comment on function howdah.put_many(text, jsonb, text, int, interval, timestamptz, text, text, double precision, timestamptz, timestamptz, text, interval, interval, interval, boolean) is
  'Put many tasks of one kind in their queue; rows is a JSON array of {payload, key, groups}. For programs that know the kind''s defaults; people call enqueue_many. For each row, by its position from 1: the id of the task that has its key, and whether that was written for it: false where the key was taken, by an earlier row too. With on_conflict = raise error HW006, and none is written.';
