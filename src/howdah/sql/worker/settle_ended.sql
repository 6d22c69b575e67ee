-- The ends of attempts with which the task ends too. All of them are locked, and were this worker's a moment ago.
create or replace function howdah.settle_ended(
  worker      uuid,
  transitions jsonb,
  ids         bigint[],
  out settled bigint[],
  out spawned jsonb,
  out letters jsonb,
  out news    jsonb,
  out readers bigint[],
  out orphans bigint[]
)
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock  timestamptz := howdah.now();
  beside jsonb;
begin
  if settle_ended.ids is null then
    return;
  end if;
  with asked as materialized (
    select x.id, x.epoch, case x."to" when 'succeeded' then 'succeeded' else 'cancelled' end as becomes, x.result, x.error, x.reason,
           case x."to" when 'succeeded' then x.event when 'cancelled' then coalesce(x.event, 'cancel') else 'cancel' end as event, x.data, coalesce(x.gone, false) as gone, x.spawn, x.enqueue, x.send, x.consumed
      from jsonb_to_recordset(settle_ended.transitions)
           x (id bigint, epoch bigint, "to" text, result jsonb, error text, reason text, event text, data jsonb, gone boolean, spawn jsonb, enqueue jsonb, send jsonb,
              consumed bigint[])
     where x.id = any (settle_ended.ids)
  ), ended as (
    delete from howdah.task t using asked a
     where t.id = any (array[a.id]) and t.epoch = a.epoch and t.worker = settle_ended.worker
    returning t.*, a.becomes, a.result, a.gone, a.error as new_error, coalesce(a.reason, t.reason) as why, a.event, a.data, a.spawn, a.enqueue, a.send
  ), read as (
    delete from howdah.message m using asked a where a.becomes = 'succeeded' and m.task_id = a.id and m.id = any (a.consumed)
  ), kept as (
    insert into howdah.archive (id, kind, queue, status, priority, run_at, step, payload, key, attempt, lost, epoch,
                                worker, claimed_at, reason, progress, last_error, result, created_at, finished_at, parent, source, tick,
              groups, cost, start_before, finish_before, late)
    select e.id, e.kind, e.queue, e.becomes, e.priority, e.run_at, e.step, e.payload, e.key, e.attempt, e.lost, e.epoch,
           e.worker, e.claimed_at, e.why, e.progress, coalesce(e.new_error, e.last_error), e.result, e.created_at, clock, e.parent, e.source, e.tick,
           e.groups, e.cost, e.start_before, e.finish_before, e.late
      from ended e where not e.gone
  ), remembered as (
    insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, worker, message, data)
    select clock, e.id, e.event, e.kind, e.step, e.attempt, e.epoch, settle_ended.worker, coalesce(e.why, e.new_error), e.data
      from ended e where e.event is not null
  )
  select array_agg(e.id),
         jsonb_agg(jsonb_build_object('parent', e.id, 'tasks', e.spawn)) filter (where e.spawn is not null and e.becomes = 'succeeded'),
         jsonb_agg(jsonb_build_object('tasks', e.enqueue, 'from', e.queue)) filter (where e.enqueue is not null and e.becomes = 'succeeded'),
         jsonb_agg(e.send) filter (where e.send is not null and e.becomes = 'succeeded'),
         jsonb_agg(jsonb_build_object('id', e.id, 'parent', e.parent, 'told', e.told, 'status', e.becomes, 'result', e.result,
                                      'error', coalesce(e.why, e.new_error)) order by e.id) filter (where e.parent is not null),
         array_agg(e.id) filter (where e.inbox_seq > 0),
         -- Whoever asked for it has said whether its children go with it, and they have gone.
         array_agg(e.id) filter (where e.becomes = 'cancelled' and e.cancel_at is null)
    into settled, spawned, beside, letters, news, readers, orphans
    from ended e;
  spawned := case when beside is null then spawned else coalesce(spawned, '[]') || beside end;
end
$$;
comment on function howdah.settle_ended(uuid, jsonb, bigint[]) is
  'Those of the transitions that end these tasks, which are locked: succeeded, or else cancelled; see settle_rest.';
