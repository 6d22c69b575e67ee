-- The ends of attempts after which the task lives on. What is asked travels with `held`, so that nothing is joined twice: those
-- joins would be quadratic in the batch.
create or replace function howdah.settle_moved(
  worker      uuid,
  transitions jsonb,
  seq         bigint,
  out settled bigint[],
  out kept    bigint[],
  out others  bigint[],
  out spawned jsonb,
  out letters jsonb,
  out news    jsonb,
  out due     boolean
)
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock  timestamptz := howdah.now();
  queues text[];
  beside jsonb;
  closings jsonb;
begin
  with asked as materialized (
    select x.id, x.epoch, x."to", x.payload, x.step, x.queue, x.priority, x.delay, x.run_at, coalesce(x.attempts, 'keep') as attempts, x.error,
           x.event, x.data, x.consumed, x.spawn, x.enqueue, x.send, coalesce(jsonb_array_length(x.spawn), 0) as spawns,
           x.close, coalesce(x.joining, false) as joining, coalesce(x.inbox_seq, 0) as inbox_seq
      from jsonb_to_recordset(settle_moved.transitions)
           x (id bigint, epoch bigint, "to" text, payload jsonb, step text, queue text, priority int, delay double precision, run_at timestamptz,
              attempts text, error text, event text, data jsonb, consumed bigint[], spawn jsonb, enqueue jsonb, send jsonb, joining boolean, inbox_seq bigint, close jsonb)
     order by x.id                                 -- and so they are locked
  ), held as materialized (
    select a.*, t.parent, t.told, t.groups, t.queue as here,
           case
             when a."to" in ('succeeded', 'cancelled') then 'ended'
             -- A task that was asked to cancel while it ran is cancelled by whatever end is not a success.
             when t.cancel_at is not null then 'ended'
             -- It goes on at once, and stays this worker's: as if it had been queued and claimed again.
             when a."to" = 'running' and (settle_moved.seq is null or t.groups is not null or exists (select from howdah.kind k where k.name = t.kind and k.disabled_at is not null)
               or exists (select from howdah.queue q where q.name = coalesce(a.queue, t.queue) and (q.paused or q.max_running is not null))) then 'queued'
             -- Nobody waits for children that all have ended, nor for a message that came since the inbox was read.
             when a."to" = 'suspended' and a.joining then case when t.children + a.spawns = 0 then 'queued' else 'suspended' end
             when a."to" = 'suspended' and t.inbox_seq <> a.inbox_seq then 'queued'
             else a."to"
           end as becomes
      from asked a join howdah.task t on t.id = any (array[a.id])
     where t.epoch = a.epoch and t.worker = settle_moved.worker
       for no key update of t
  ), moved as (
    update howdah.task t
       set status = h.becomes,
           worker = case h.becomes when 'running' then t.worker end,
           claim_seq = case h.becomes when 'running' then settle_moved.seq end,
           epoch = t.epoch + (h.becomes = 'running')::int,
           claimed_at = case h.becomes when 'running' then clock else t.claimed_at end,
           payload = coalesce(h.payload, t.payload),
           step = coalesce(h.step, t.step),
           step_no = t.step_no + (h.attempts = 'reset')::int,
           queue = coalesce(h.queue, t.queue),
           priority = coalesce(h.priority, t.priority),
           run_at = case
             when h.becomes = 'suspended' then coalesce(h.run_at, clock + make_interval(secs => h.delay), 'infinity')
             when h.becomes = 'queued' and h."to" = 'suspended' then clock
             -- It stays in line, before a closed door.
             when h.becomes = 'queued' and h.close is not null and case when h.close ? 'group' then coalesce(h.close ->> 'group' = any (t.groups), false) else t.groups is not null end then t.run_at
             when h.becomes = 'queued' then coalesce(h.run_at, clock + make_interval(secs => coalesce(h.delay, 0)))
             else t.run_at
           end,
           attempt = case h.attempts when 'unspent' then greatest(t.attempt - 1, 0) when 'reset' then 0 else t.attempt end
                     + (h.becomes = 'running')::int,
           lost = case h.attempts when 'reset' then 0 else t.lost end,
           error = case h.becomes when 'failed' then h.error end,
           last_error = case when h.becomes = 'failed' or h.attempts = 'reset' then null else coalesce(h.error, t.last_error) end,
           progress = case h.becomes when 'failed' then t.progress end,
           children = t.children + h.spawns,
           joining = h.joining,
           told = t.told or h.becomes = 'failed' and t.parent is not null
      from held h
     where t.id = any (array[h.id]) and h.becomes <> 'ended'
    -- A step that begins has no attempt behind it; how many the one before took is in data.
    returning t.id, t.kind, t.step, case when h.attempts <> 'reset' then t.attempt end as attempt, h.epoch, h.event, h.error, h.data
  ), read as (
    delete from howdah.message m using held h
     where h.consumed is not null and h.becomes <> 'ended' and m.task_id = h.id and m.id = any (h.consumed)
  ), remembered as (
    insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, worker, message, data)
    select clock, m.id, m.event, m.kind, m.step, m.attempt, m.epoch, settle_moved.worker, m.error, m.data
      from moved m where m.event is not null
  )
  select array_agg(h.id) filter (where h.becomes <> 'ended'), array_agg(h.id) filter (where h.becomes = 'running'),
         array_agg(h.id) filter (where h.becomes = 'ended'),
         jsonb_agg(jsonb_build_object('parent', h.id, 'tasks', h.spawn)) filter (where h.spawns > 0 and h.becomes <> 'ended'),
         jsonb_agg(jsonb_build_object('tasks', h.enqueue, 'from', h.here)) filter (where h.enqueue is not null and h.becomes <> 'ended'),
         jsonb_agg(h.send) filter (where h.send is not null and h.becomes <> 'ended'),
         jsonb_agg(jsonb_build_object('id', h.id, 'parent', h.parent, 'told', false, 'status', 'failed', 'error', h.error))
           filter (where h.becomes = 'failed' and h.parent is not null and not h.told),
         coalesce(bool_or(h.becomes = 'queued' and (h."to" = 'suspended' or h."to" = 'running' and h.groups is not null)), false),
         array_agg(distinct h.queue) filter (where h.becomes = 'queued' and h.queue is not null),
         jsonb_agg(h.close || jsonb_build_object('id', h.id, 'groups', h.groups)) filter (where h.close is not null)
    into settled, kept, others, spawned, beside, letters, news, due, queues, closings
    from held h;
  spawned := case when beside is null then spawned else coalesce(spawned, '[]') || beside end;
  if closings is not null then
    perform howdah.close_groups(closings);
  end if;
  -- Into another queue, whose workers know nothing of it, not even of when it is due.
  perform howdah.wake(q) from unnest(queues) q;
end
$$;
comment on function howdah.settle_moved(uuid, jsonb, bigint) is
  'Those of the transitions after which a task lives on; see settle_rest. others: the ids that are this worker''s, and end; due: whether one that was to sleep is due at once.';
