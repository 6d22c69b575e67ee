-- Every other end of an attempt: queued again, parked, cancelled. A task that was asked to cancel while it ran
-- is cancelled by whatever end is not a success.
create or replace function howdah.settle_rest(worker uuid, transitions jsonb)
returns bigint[]
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  settled bigint[];
begin
  with x as materialized (
    select x.id, x.epoch, x."to", x.payload, x.step, x.result, make_interval(secs => coalesce(x.delay, 0)) as delay,
           x.attempts, x.error, x.reason, x.event, x.data, x.gone
      from jsonb_to_recordset(settle_rest.transitions)
           x (id bigint, epoch bigint, "to" text, payload jsonb, step text, result jsonb, delay double precision,
              attempts text, error text, reason text, event text, data jsonb, gone boolean)
     order by x.id
  ), held as materialized (
    select t.id, x.epoch, case when t.cancel_at is not null then 'cancelled' else x."to" end as "to"
      from x join howdah.task t on t.id = x.id
     where t.epoch = x.epoch and t.worker = settle_rest.worker
     order by t.id for no key update of t
  ), moved as (
    update howdah.task t
       set status = h."to",
           worker = null, claim_seq = null,
           payload = coalesce(x.payload, t.payload),
           step = coalesce(x.step, t.step),
           step_no = t.step_no + (x.attempts = 'reset')::int,
           run_at = case h."to" when 'queued' then clock + x.delay else t.run_at end,
           attempt = case x.attempts when 'unspent' then greatest(t.attempt - 1, 0) when 'reset' then 0 else t.attempt end,
           lost = case x.attempts when 'reset' then 0 else t.lost end,
           error = case h."to" when 'failed' then x.error end,
           last_error = case when h."to" = 'failed' or x.attempts = 'reset' then null else coalesce(x.error, t.last_error) end,
           progress = case h."to" when 'failed' then t.progress end
      from held h join x using (id, epoch)
     where t.id = h.id and h."to" in ('queued', 'failed')
    returning t.id, t.kind, t.step, t.attempt, t.epoch
  ), ended as (
    delete from howdah.task t using held h join x using (id, epoch)
     where t.id = h.id and h."to" in ('succeeded', 'cancelled')
    returning t.*, h."to", x.result, x.gone, x.error as new_error, coalesce(x.reason, t.reason) as why
  ), kept as (
    insert into howdah.archive (id, kind, queue, status, priority, run_at, step, payload, key, attempt, lost, epoch,
                                worker, claimed_at, reason, progress, last_error, result, created_at, finished_at)
    select e.id, e.kind, e.queue, e."to", e.priority, e.run_at, e.step, e.payload, e.key, e.attempt, e.lost, e.epoch,
           e.worker, e.claimed_at, e.why, e.progress, coalesce(e.new_error, e.last_error), e.result, e.created_at, clock
      from ended e where not coalesce(e.gone, false)
  ), remembered as (
    insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, worker, message, data)
    select clock, m.id, x.event, m.kind, m.step, m.attempt, x.epoch, settle_rest.worker, coalesce(x.error, x.reason), x.data
      from moved m join x using (id, epoch) where x.event is not null
    union all
    select clock, e.id, case e."to" when 'cancelled' then 'cancel' else x.event end, e.kind, e.step, e.attempt, e.epoch, settle_rest.worker, coalesce(e.why, x.error), x.data
      from ended e join x using (id, epoch) where x.event is not null or e."to" = 'cancelled'
  )
  select array_agg(h.id) into settled from held h;
  return settled;
end
$$;
comment on function howdah.settle_rest(uuid, jsonb) is
  'End attempts in any other way. transitions: a JSON array of {id, epoch, to, payload, step, result, delay (seconds), attempts (keep, unspent, reset), error, reason, event, data, gone}. Returns the ids that were still this worker''s at this epoch.';
