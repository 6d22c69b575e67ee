-- Messages into inboxes, and their readers woken. The rows of the readers are locked by whoever calls, ids ascending:
-- sender and sleeper meet on inbox_seq of that row, never on "is there a message?", which each would answer from an
-- old snapshot.
create or replace function howdah.deliver(letters jsonb) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  missing bigint;
  deaf    bigint;
  woken   text[];
begin
  with letter as materialized (
    select e.n, x."to", x.sender, coalesce(x.type, 'message') as type, x.body, coalesce(x.fresh, false) as fresh
      from jsonb_array_elements(deliver.letters) with ordinality e (value, n)
      cross join lateral jsonb_to_record(e.value) x ("to" bigint, sender bigint, type text, body jsonb, fresh boolean)
  ), reader as materialized (
    select l."to" as id, count(*) as letters, count(*) filter (where l.fresh) as fresh, bool_or(l.type = 'message') as must_read
      from letter l group by l."to"
  ), awake as materialized (
    select r.*, t.status = 'suspended' and (not t.joining or t.children <= r.fresh) as wakes,
           r.must_read and exists (select from howdah.kind k where k.name = t.kind and k.inbox is null) as deaf
      from reader r join howdah.task t on t.id = any (array[r.id])
  ), told as (
    update howdah.task t
       set inbox_seq = t.inbox_seq + a.letters, children = greatest(t.children - a.fresh, 0),
           status = case when a.wakes then 'queued' else t.status end,
           run_at = case when a.wakes then clock else t.run_at end
      from awake a
     where t.id = any (array[a.id])
    returning t.id, t.queue, a.wakes, a.deaf
  ), kept as (
    insert into howdah.message (task_id, sender, type, body, sent_at)
    select l."to", l.sender, l.type, coalesce(l.body, 'null'), clock from letter l join told t on t.id = l."to" order by l.n
  )
  select (select min(r.id) from reader r where r.must_read and not exists (select from told t where t.id = r.id)),
         min(t.id) filter (where t.deaf), array_agg(distinct t.queue) filter (where t.wakes)
    into missing, deaf, woken from told t;
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
comment on function howdah.deliver(jsonb) is
  'Put letters into inboxes, in order: a JSON array of {to, sender, type (message, eof), body, fresh (the first that this child tells)}. Wakes suspended readers; one that waits for its children only with the last of them. An eof to a parent that is gone is dropped. Errors: HW004 no such task, HW005 it takes no messages.';
