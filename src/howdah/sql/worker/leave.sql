create or replace function howdah.leave(worker uuid) returns int
language plpgsql
as $$
#variable_conflict use_column
declare
  given_back int;
begin
  -- FOR UPDATE, as in rescue: the weaker lock of the UPDATE alone would let a claim through that saw this worker alive.
  perform from howdah.worker w where w.id = leave.worker and w.status = 'live' for update;
  update howdah.worker w set status = 'dead', asleep = false, ended_at = howdah.now() where w.id = leave.worker and w.status = 'live';
  if not found then
    return 0;
  end if;
  -- All of them first, ids ascending: the parents that a cancelled one tells come after.
  perform howdah.lock_tasks(array(select x.id from howdah.task x where x.worker = leave.worker and x.status = 'running'));
  perform howdah.lose(x.id, x.epoch, 'cancel', null, false)
     from howdah.task x where x.worker = leave.worker and x.status = 'running' and x.cancel_at is not null order by x.id;
  -- Of claims whose reply never came, mostly: what the worker knew it held, it has settled.
  update howdah.task t set status = 'queued', worker = null, claim_seq = null, attempt = greatest(t.attempt - 1, 0)
   where t.id in (select x.id from howdah.task x where x.worker = leave.worker and x.status = 'running' and x.cancel_at is null order by x.id for no key update);
  get diagnostics given_back = row_count;
  return given_back;
end
$$;
comment on function howdah.leave(uuid) is 'End a lease in good order. Tasks it still owns go back unspent; returns how many.';
