-- Messages into inboxes, and their readers woken. The rows of the readers are locked by whoever calls, ids ascending:
-- sender and sleeper meet on inbox_seq of that row, never on "is there a message?", which each would answer from an
-- old snapshot.
--
-- A worker for which nothing else waits may take the readers it wakes at once (worker, seq, eager, room): as if they had been
-- queued and claimed, at the price of one write instead of three.
create or replace function howdah.deliver(
  letters jsonb,
  worker  uuid default null,
  seq     bigint default null,
  eager   jsonb default null,
  room    int default 0,
  out taken   json[],
  out readers bigint[]
)
language plpgsql
-- The hash joins are among the CTEs; a task is reached by `any (array)`, which only a loop over its key can do.
set jit = off set enable_seqscan = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  missing bigint;
  deaf    bigint;
  woken   text[];
begin
  with letter as materialized (
    select x.n, x."to", x.sender, coalesce(x.type, 'message') as type, x.body, coalesce(x.fresh, false) as fresh
      from rows from (jsonb_to_recordset(deliver.letters) as ("to" bigint, sender bigint, type text, body jsonb, fresh boolean))
           with ordinality x ("to", sender, type, body, fresh, n)
  ), reader as materialized (
    select l."to" as id, count(*) as letters, count(*) filter (where l.fresh) as fresh, bool_or(l.type = 'message') as must_read
      from letter l group by l."to"
  ), awake as materialized (
    select r.*, t.id is not null as there, t.status = 'suspended' and (not t.joining or t.children <= r.fresh)
             -- Not one that was never begun, and stands in line behind another of its schedule.
             and not (t.epoch = 0 and t.tick is not null) as wakes,
           r.must_read and exists (select from howdah.kind k where k.name = t.kind and k.inbox is null) as deaf,
           coalesce(deliver.eager -> t.queue ? t.kind, false)
             and t.groups is null
             and not exists (select from howdah.queue q where q.name = t.queue and (q.paused or q.max_running is not null))
             and not exists (select from howdah.kind k where k.name = t.kind and k.disabled_at is not null) as mine
      from reader r left join howdah.task t on t.id = any (array[r.id])
  ), placed as materialized (
    select a.*, a.wakes and a.mine and count(*) filter (where a.wakes and a.mine) over (order by a.id) <= deliver.room as begins from awake a
  ), told as (
    update howdah.task t
       set inbox_seq = t.inbox_seq + p.letters, children = greatest(t.children - p.fresh, 0),
           status = case when p.begins then 'running' when p.wakes then 'queued' else t.status end,
           run_at = case when p.wakes then clock else t.run_at end,
           worker = case when p.begins then deliver.worker else t.worker end,
           claim_seq = case when p.begins then deliver.seq else t.claim_seq end,
           claimed_at = case when p.begins then clock else t.claimed_at end,
           epoch = t.epoch + p.begins::int, attempt = t.attempt + p.begins::int
      from placed p
     where t.id = any (array[p.id]) and p.there
    returning t.id, t.queue, p.wakes and not p.begins as wakes, p.begins,
              case when p.begins then howdah.as_claimed(t, clock) end as taken
  ), kept as (
    insert into howdah.message (task_id, sender, type, body, sent_at)
    select l."to", l.sender, l.type, coalesce(l.body, 'null'), clock from letter l join placed p on p.id = l."to" and p.there order by l.n
  )
  select (select min(p.id) from placed p where p.must_read and not p.there), (select min(p.id) from placed p where p.deaf),
         array_agg(distinct t.queue) filter (where t.wakes), array_agg(t.taken) filter (where t.begins), array_agg(t.id) filter (where t.begins)
    into missing, deaf, woken, taken, readers from told t;
  if missing is not null then
    raise exception using errcode = 'HW004', message = format('there is no task %s to send to', missing),
      hint = 'It has ended, or never existed';
  elsif deaf is not null then
    raise exception using errcode = 'HW005',
      message = (select format('task %s (%s) takes no messages', t.id, t.kind) from howdah.task t where t.id = deaf),
      hint = 'Only actors do: @app.actor(…, inbox=…)';
  elsif woken is not null then
    perform howdah.wake(q) from unnest(woken) q;
  end if;
end
$$;
comment on function howdah.deliver(jsonb, uuid, bigint, jsonb, int) is
  'Put letters into inboxes, in order: a JSON array of {to, sender, type (message, eof), body, fresh (the first that this child tells)}. Wakes suspended readers; one that waits for its children only with the last of them. An eof to a parent that is gone is dropped. With a worker, the number of its claim, eager = {queue: [kinds]} and room: what is among them begins at once, and is returned as pump returns what it claimed. Errors: HW004 no such task, HW005 it takes no messages.';
