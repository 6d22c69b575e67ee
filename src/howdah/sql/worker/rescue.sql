-- The only place where time moves ownership. Any worker may run it, as often as it likes.
create or replace function howdah.rescue(at_most int default 1000)
returns table (dead int, rescued int, overdue int)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
-- The workers have no index but their key, and before PostgreSQL 18 a scan that is off costs so much that it is compiled.
set jit = off
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
  lost  record;
begin
  dead := 0; rescued := 0; overdue := 0;
  -- After an outage of the database every lease looks expired and every worker is about to renew: each has its own
  -- lease's time for it, from when the server came up.
  with gone as materialized (
    select w.id from howdah.worker w
     where w.status = 'live' and w.lease_until < clock and pg_postmaster_start_time() + w.ttl < clock
     order by w.id for update skip locked
  )
  update howdah.worker w set status = 'dead', asleep = false, ended_at = clock from gone where w.id = gone.id;
  get diagnostics dead = row_count;

  -- The tasks of all dead workers, not only of those just found: a statement of its own, so that it sees their last claims.
  -- LATERAL with a LIMIT cannot be turned round: a walk along all that run, to find that nobody is dead.
  for lost in
    select t.id, t.epoch, t.queue, w.host, w.pid, w.lease_until
      from howdah.worker w
      cross join lateral (select t.id, t.epoch, t.queue from howdah.task t
                           where t.worker = w.id and t.status = 'running' limit rescue.at_most) t
     where w.status = 'dead'
     order by t.id limit rescue.at_most
  loop
    begin
      rescued := rescued + howdah.lose(lost.id, lost.epoch, 'crash',
        format('WorkerLost: the worker on %s (pid %s) stopped renewing its lease', lost.host, lost.pid), true)::int;
    exception when others then
      -- One row that refuses must not keep the others from being rescued.
      raise warning 'howdah: task % cannot be rescued: %', lost.id, sqlerrm;
    end;
  end loop;

  -- Tasks that were to end before now, and whose worker does not end them (its loop is blocked). A lease of grace, because
  -- the worker is the one to do this.
  for lost in
    select t.id, t.epoch
      from howdah.task t join howdah.worker w on w.id = t.worker and w.status = 'live'
     where t.status = 'running' and t.late in ('drop', 'park') and t.finish_before < clock and t.finish_before + w.ttl < clock
     order by t.finish_before limit rescue.at_most
  loop
    begin
      overdue := overdue + (howdah.end_late(lost.id, lost.epoch) is not null)::int;
    exception when others then
      raise warning 'howdah: task % is late and cannot be ended: %', lost.id, sqlerrm;
    end;
  end loop;

  -- The same for attempts that outlived their own time. The time of a batch begins when it is gathered. Processes wait for a slot
  -- after the claim, and are killed in time.
  if not exists (select from howdah.kind k where k.timeout is not null and k.executor <> 'process' or k.steps @? '$.*.timeout') then
    return next;
    return;
  end if;
  for lost in
    select t.id, t.epoch, k.timeout
      from howdah.worker w
      join howdah.task t on t.worker = w.id and t.status = 'running'
      cross join lateral howdah.rules(t.kind, t.step) k
     where w.status = 'live' and k.timeout is not null and k.executor <> 'process' and t.claimed_at + k.timeout + coalesce(k.batch_wait, interval '0') + w.ttl < clock
     order by t.id limit rescue.at_most
  loop
    begin
      overdue := overdue + howdah.lose(lost.id, lost.epoch, 'timeout',
        format('TimeoutError: still running after %s, and its worker did not stop it', lost.timeout), false)::int;
    exception when others then
      raise warning 'howdah: task % cannot be timed out: %', lost.id, sqlerrm;
    end;
  end loop;
  return next;
end
$$;
comment on function howdah.rescue(int) is
  'Declare workers with an expired lease dead and take their tasks back, counted; end attempts that ran a whole lease past their timeout, or past the deadline of their task. At most at_most of each per call.';
