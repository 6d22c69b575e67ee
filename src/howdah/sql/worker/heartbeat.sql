-- Renews by status alone, with no look at the clock: ownership moves only in rescue, which locks the same row.
-- A task this worker owns by a settled claim but does not hold was lost on the way (the reply to its claim never came):
-- it goes back, its attempt unspent. Without `settled`, a heartbeat that overtakes a claim's reply would free running tasks.
create or replace function howdah.heartbeat(worker uuid, held_ids bigint[], held_epochs bigint[], settled bigint)
returns table (alive boolean, stop boolean, cancelled bigint[], freed bigint[])
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  update howdah.worker w set lease_until = howdah.now() + w.ttl
   where w.id = heartbeat.worker and w.status = 'live'
  returning true, w.stop_at is not null into alive, stop;
  if not found then
    return query select false, false, '{}'::bigint[], '{}'::bigint[];
    return;
  end if;

  -- What is not held runs nowhere: asked to cancel, it ends here; the rest goes back.
  perform howdah.lose(t.id, t.epoch, 'cancel', null, false) from howdah.task t
   where t.worker = heartbeat.worker and t.status = 'running' and t.claim_seq <= heartbeat.settled and t.cancel_at is not null
     and (t.id, t.epoch) not in (select h.id, h.epoch from unnest(heartbeat.held_ids, heartbeat.held_epochs) h (id, epoch));
  with unheld as materialized (
    select t.id, t.epoch from howdah.task t
     where t.worker = heartbeat.worker and t.status = 'running' and t.claim_seq <= heartbeat.settled and t.cancel_at is null
       -- NOT IN is hashed whatever the planner thinks of joins; neither column is ever null.
       and (t.id, t.epoch) not in (select h.id, h.epoch from unnest(heartbeat.held_ids, heartbeat.held_epochs) h (id, epoch))
       for no key update skip locked
  ), back as (
    update howdah.task t
       set status = 'queued', worker = null, claim_seq = null, attempt = greatest(t.attempt - 1, 0)
      from unheld u
     where t.id = any (array[u.id]) and t.epoch = u.epoch and t.worker = heartbeat.worker
    returning t.id, t.queue
  )
  select coalesce(array_agg(b.id), '{}') into freed from back b;
  if freed <> '{}' then
    perform howdah.wake(q.queue) from (select distinct t.queue from howdah.task t where t.id = any (freed)) q;
  end if;

  select coalesce(array_agg(t.id), '{}') into cancelled from howdah.task t
   where t.worker = heartbeat.worker and t.status = 'running' and t.cancel_at is not null;
  return next;
end
$$;
comment on function howdah.heartbeat(uuid, bigint[], bigint[], bigint) is
  'Renew a lease. held: the tasks this worker has, with their epochs; settled: the highest claim number with all replies in or given up. Returns alive (false: stop everything and register anew), stop, the held tasks to cancel, and what was given back because it is not held.';
