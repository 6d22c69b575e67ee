-- Every other end of an attempt: on to a next step, queued again, suspended, parked, cancelled; and a success that shares its
-- transaction with effects. A task that was asked to cancel while it ran is cancelled by whatever end is not a success.
-- What is asked travels with `held`, so that nothing is joined twice: those joins would be quadratic in the batch.
create or replace function howdah.settle_rest(
  worker      uuid,
  transitions jsonb,
  seq         bigint default null,
  out settled bigint[],
  out kept    bigint[]
)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  consumed jsonb;
  spawned  jsonb;
  letters  jsonb;
  news     jsonb;
  readers  bigint[];
  orphans  bigint[];
begin
  if exists (select from jsonb_array_elements(settle_rest.transitions) x
              where coalesce(x ->> 'to', '') not in ('queued', 'running', 'suspended', 'failed', 'succeeded', 'cancelled')) then
    raise exception using errcode = 'HW002', message = 'a transition goes to queued, running, suspended, failed, succeeded or cancelled',
      hint = 'Give every transition one of them as "to"';
  end if;
  if settle_rest.transitions @? '$[*] ? (exists (@.send) || exists (@.parent) || @.to == "cancelled")' then
    perform howdah.lock_tasks(howdah.concerned(settle_rest.transitions));
  end if;
  with asked as materialized (
    select x.id, x.epoch, x."to", x.payload, x.step, x.queue, x.priority, x.result, x.delay, x.run_at,
           coalesce(x.attempts, 'keep') as attempts, x.error, x.reason, x.event, x.data, coalesce(x.gone, false) as gone,
           x.consumed, x.spawn, x.send, coalesce(jsonb_array_length(x.spawn), 0) as spawns, coalesce(x.joining, false) as joining,
           coalesce(x.inbox_seq, 0) as inbox_seq
      from jsonb_to_recordset(settle_rest.transitions)
           x (id bigint, epoch bigint, "to" text, payload jsonb, step text, queue text, priority int, result jsonb, delay double precision,
              run_at timestamptz, attempts text, error text, reason text, event text, data jsonb, gone boolean,
              consumed bigint[], spawn jsonb, send jsonb, joining boolean, inbox_seq bigint)
     order by x.id                                 -- and so they are locked
  ), held as materialized (
    select a.*, t.parent, t.told,
           case
             when a."to" = 'succeeded' then 'succeeded'
             when t.cancel_at is not null then 'cancelled'
             -- It goes on at once, and stays this worker's: as if it had been queued and claimed again.
             when a."to" = 'running' and (settle_rest.seq is null or exists (select from howdah.queue q where q.name = t.queue and q.paused)) then 'queued'
             -- Nobody waits for children that all have ended, nor for a message that came since the inbox was read.
             when a."to" = 'suspended' and a.joining then case when t.children + a.spawns = 0 then 'queued' else 'suspended' end
             when a."to" = 'suspended' and t.inbox_seq <> a.inbox_seq then 'queued'
             else a."to"
           end as becomes
      from asked a join howdah.task t on t.id = any (array[a.id])
     where t.epoch = a.epoch and t.worker = settle_rest.worker
       for no key update of t
  ), moved as (
    update howdah.task t
       set status = h.becomes,
           worker = case h.becomes when 'running' then t.worker end,
           claim_seq = case h.becomes when 'running' then settle_rest.seq end,
           epoch = t.epoch + (h.becomes = 'running')::int,
           claimed_at = case h.becomes when 'running' then clock else t.claimed_at end,
           payload = coalesce(h.payload, t.payload),
           step = coalesce(h.step, t.step),
           step_no = t.step_no + (h.attempts = 'reset')::int,
           queue = coalesce(h.queue, t.queue),
           priority = coalesce(h.priority, t.priority),
           run_at = case
             when h.becomes = 'suspended' then coalesce(h.run_at, clock + make_interval(secs => h.delay), 'infinity')
             when h.becomes = 'queued' and h."to" <> 'suspended' then coalesce(h.run_at, clock + make_interval(secs => coalesce(h.delay, 0)))
             when h.becomes = 'queued' then clock
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
     where t.id = any (array[h.id]) and h.becomes in ('queued', 'running', 'suspended', 'failed')
    returning t.id, t.kind, t.step, t.attempt, h.epoch, h.event,
              coalesce(h.error, h.reason) as message, h.data, h.becomes, t.parent, h.told, t.error
  ), ended as (
    delete from howdah.task t using held h
     where t.id = any (array[h.id]) and h.becomes in ('succeeded', 'cancelled')
    returning t.*, h.becomes, h.result, h.gone, h.error as new_error, coalesce(h.reason, t.reason) as why,
              case h.becomes when 'cancelled' then 'cancel' else h.event end as event, h.data
  ), kept as (
    insert into howdah.archive (id, kind, queue, status, priority, run_at, step, payload, key, attempt, lost, epoch,
                                worker, claimed_at, reason, progress, last_error, result, created_at, finished_at, parent)
    select e.id, e.kind, e.queue, e.becomes, e.priority, e.run_at, e.step, e.payload, e.key, e.attempt, e.lost, e.epoch,
           e.worker, e.claimed_at, e.why, e.progress, coalesce(e.new_error, e.last_error), e.result, e.created_at, clock, e.parent
      from ended e where not e.gone
  ), remembered as (
    insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, worker, message, data)
    select clock, m.id, m.event, m.kind, m.step, m.attempt, m.epoch, settle_rest.worker, m.message, m.data
      from moved m where m.event is not null
    union all
    select clock, e.id, e.event, e.kind, e.step, e.attempt, e.epoch, settle_rest.worker, coalesce(e.why, e.new_error), e.data
      from ended e where e.event is not null
  )
  select array_agg(h.id), array_agg(h.id) filter (where h.becomes = 'running'),
         jsonb_agg(jsonb_build_object('task_id', h.id, 'ids', h.consumed)) filter (where h.consumed is not null and h.becomes <> 'cancelled'),
         jsonb_agg(jsonb_build_object('parent', h.id, 'tasks', h.spawn)) filter (where h.spawns > 0 and h.becomes <> 'cancelled'),
         jsonb_agg(jsonb_build_object('sender', h.id, 'letters', h.send)) filter (where h.send is not null and h.becomes <> 'cancelled'),
         (select jsonb_agg(jsonb_build_object('id', n.id, 'parent', n.parent, 'told', n.told, 'status', n.becomes, 'result', n.result, 'error', n.error)
                           order by n.id)
            from (select m.id, m.parent, m.told, m.becomes, null::jsonb as result, m.error from moved m where m.becomes = 'failed' and not m.told
                  union all
                  select e.id, e.parent, e.told, e.becomes, e.result, coalesce(e.why, e.new_error) from ended e) n
           where n.parent is not null),
         (select array_agg(e.id) from ended e where e.inbox_seq > 0),
         (select array_agg(e.id) from ended e where e.becomes = 'cancelled')
    into settled, settle_rest.kept, consumed, spawned, letters, news, readers, orphans
    from held h;

  -- Each a statement of its own: one statement cannot change a row twice, and a task may be settled and sent to.
  if consumed is not null then
    delete from howdah.message m using jsonb_to_recordset(consumed) c (task_id bigint, ids bigint[])
     where m.task_id = c.task_id and m.id = any (c.ids);
  end if;
  if spawned is not null then
    perform howdah.spawn(spawned);
  end if;
  if letters is not null then
    perform howdah.deliver((select jsonb_agg(x || jsonb_build_object('sender', l -> 'sender'))
                              from jsonb_array_elements(letters) l, jsonb_array_elements(l -> 'letters') x));
  end if;
  if readers is not null then
    perform howdah.empty_inboxes(readers);
  end if;
  if news is not null then
    perform howdah.tell_parents(news);
  end if;
  if orphans is not null then
    perform howdah.cancel_children(orphans);
  end if;
end
$$;
comment on function howdah.settle_rest(uuid, jsonb, bigint) is
  'End attempts in any other way. transitions: a JSON array of {id, epoch, to, payload, step, queue, priority, result, delay (seconds) or run_at, attempts (keep, unspent, reset), error, reason, event, data, gone, parent; consumed: [message ids], inbox_seq (when the inbox was read), spawn: [tasks, as howdah.spawn takes them], send: [{to, body}], joining}. to = running, with the number of the claim: go on at once under the next epoch. Returns the ids that were still this worker''s at this epoch, and those of them that it keeps.';
