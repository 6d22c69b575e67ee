-- Every other end of an attempt: queued again, parked, cancelled; and a success that shares its transaction with effects.
-- A task that was asked to cancel while it ran is cancelled by whatever end is not a success.
-- What is asked travels with `held`, so that nothing is joined twice: those joins would be quadratic in the batch.
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
  if exists (select from jsonb_array_elements(settle_rest.transitions) x
              where coalesce(x ->> 'to', '') not in ('queued', 'failed', 'succeeded', 'cancelled')) then
    raise exception using errcode = 'HW002', message = 'a transition goes to queued, failed, succeeded or cancelled',
      hint = 'Give every transition one of them as "to"';
  end if;
  with asked as materialized (
    select x.id, x.epoch, x."to", x.payload, x.step, x.result, make_interval(secs => coalesce(x.delay, 0)) as delay,
           coalesce(x.attempts, 'keep') as attempts, x.error, x.reason, x.event, x.data, coalesce(x.gone, false) as gone
      from jsonb_to_recordset(settle_rest.transitions)
           x (id bigint, epoch bigint, "to" text, payload jsonb, step text, result jsonb, delay double precision,
              attempts text, error text, reason text, event text, data jsonb, gone boolean)
     order by x.id                                 -- and so they are locked
  ), held as materialized (
    select a.*, case when t.cancel_at is not null and a."to" <> 'succeeded' then 'cancelled' else a."to" end as becomes
      from asked a join howdah.task t on t.id = any (array[a.id])
     where t.epoch = a.epoch and t.worker = settle_rest.worker
       for no key update of t
  ), moved as (
    update howdah.task t
       set status = h.becomes,
           worker = null, claim_seq = null,
           payload = coalesce(h.payload, t.payload),
           step = coalesce(h.step, t.step),
           step_no = t.step_no + (h.attempts = 'reset')::int,
           run_at = case h.becomes when 'queued' then clock + h.delay else t.run_at end,
           attempt = case h.attempts when 'unspent' then greatest(t.attempt - 1, 0) when 'reset' then 0 else t.attempt end,
           lost = case h.attempts when 'reset' then 0 else t.lost end,
           error = case h.becomes when 'failed' then h.error end,
           last_error = case when h.becomes = 'failed' or h.attempts = 'reset' then null else coalesce(h.error, t.last_error) end,
           progress = case h.becomes when 'failed' then t.progress end
      from held h
     where t.id = any (array[h.id]) and h.becomes in ('queued', 'failed')
    returning t.id, t.kind, t.step, t.attempt, t.epoch, h.event, coalesce(h.error, h.reason) as message, h.data
  ), ended as (
    delete from howdah.task t using held h
     where t.id = any (array[h.id]) and h.becomes in ('succeeded', 'cancelled')
    returning t.*, h.becomes, h.result, h.gone, h.error as new_error, coalesce(h.reason, t.reason) as why,
              case h.becomes when 'cancelled' then 'cancel' else h.event end as event, h.data
  ), kept as (
    insert into howdah.archive (id, kind, queue, status, priority, run_at, step, payload, key, attempt, lost, epoch,
                                worker, claimed_at, reason, progress, last_error, result, created_at, finished_at)
    select e.id, e.kind, e.queue, e.becomes, e.priority, e.run_at, e.step, e.payload, e.key, e.attempt, e.lost, e.epoch,
           e.worker, e.claimed_at, e.why, e.progress, coalesce(e.new_error, e.last_error), e.result, e.created_at, clock
      from ended e where not e.gone
  ), remembered as (
    insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, worker, message, data)
    select clock, m.id, m.event, m.kind, m.step, m.attempt, m.epoch, settle_rest.worker, m.message, m.data
      from moved m where m.event is not null
    union all
    select clock, e.id, e.event, e.kind, e.step, e.attempt, e.epoch, settle_rest.worker, coalesce(e.why, e.new_error), e.data
      from ended e where e.event is not null
  )
  select array_agg(h.id) into settled from held h;
  return settled;
end
$$;
comment on function howdah.settle_rest(uuid, jsonb) is
  'End attempts in any other way. transitions: a JSON array of {id, epoch, to, payload, step, result, delay (seconds), attempts (keep, unspent, reset), error, reason, event, data, gone}. Returns the ids that were still this worker''s at this epoch.';
