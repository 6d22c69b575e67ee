-- An attempt that ended without a word, or ran past its time on a worker that did not stop it. It counts, so that a
-- payload that kills its process ends parked instead of killing the fleet in turn.
create or replace function howdah.lose(id bigint, epoch bigint, type text, error text, counts_as_lost boolean) returns boolean
language plpgsql
as $$
#variable_conflict use_column
declare
  t        howdah.task;
  k        howdah.kind;
  clock    timestamptz := howdah.now();
  parks    boolean;
  wait     interval;
begin
  select * into t from howdah.task x where x.id = lose.id and x.epoch = lose.epoch and x.status = 'running' for no key update skip locked;
  if not found then
    return false;
  end if;
  -- Its parent may have to be told. Passing over a locked one cannot end in a deadlock, whatever the order.
  perform from howdah.task x where x.id = t.parent for no key update skip locked;
  if not found and exists (select from howdah.task x where x.id = t.parent) then
    return false;
  end if;
  k := howdah.rules(t.kind, t.step);
  if t.cancel_at is not null then
    delete from howdah.task x where x.id = t.id;
    perform howdah.bury(t, 'cancelled', null, t.reason);
    insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, worker, message)
    values (clock, t.id, 'cancel', t.kind, t.step, t.attempt, t.epoch, t.worker, t.reason);
    return true;
  end if;
  parks := t.attempt >= coalesce(k.max_attempts, 6) or lose.counts_as_lost and t.lost + 1 > coalesce(k.max_lost, 3);
  if lose.counts_as_lost then
    -- Once is an accident and goes on at once; after that, slower and slower.
    wait := case when t.lost = 0 then interval '0' else make_interval(secs => least(5 * power(2::float8, least(t.lost, 10)), 600)) end;
  else
    wait := howdah.backoff(k, t.attempt);
  end if;
  update howdah.task x
     set status = case when parks then 'failed' else 'queued' end,
         worker = null, claim_seq = null,
         lost = x.lost + lose.counts_as_lost::int,
         run_at = case when parks then x.run_at else clock + wait end,
         error = case when parks then lose.error end,
         last_error = case when parks then null else lose.error end,
         told = x.told or parks and x.parent is not null
   where x.id = t.id;
  insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, worker, message, data)
  values (clock, t.id, lose.type, t.kind, t.step, t.attempt, t.epoch, t.worker, lose.error,
          jsonb_build_object('parked', parks, 'delay', extract(epoch from wait), 'ran', extract(epoch from clock - t.claimed_at)));
  if not parks then
    perform howdah.wake(t.queue);
  elsif t.parent is not null and not t.told then
    perform howdah.deliver(howdah.ends(jsonb_build_array(jsonb_build_object(
      'id', t.id, 'parent', t.parent, 'told', false, 'status', 'failed', 'error', lose.error))));
  end if;
  return true;
end
$$;
comment on function howdah.lose(bigint, bigint, text, text, boolean) is 'End one running attempt from outside: queue it again, or park it when its attempts or losses are used up. False if it is no longer there or being settled right now.';
