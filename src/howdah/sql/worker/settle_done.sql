-- The common end, in bulk and through the primary key: succeeded tasks leave for the archive in one statement.
-- `id, epoch, worker` is the fence. There is no test of the status: it would invite the partial index of running tasks,
-- whose statistics say that nothing runs. And the rows are reached by `id = any (array)`, here and wherever a worker reaches for
-- its tasks: as a plain join, planned while the table was small, it may be a walk along the whole primary key, and the plan stays.
-- The join that is left compares epochs, hashed.
create or replace function howdah.settle_done(worker uuid, ids bigint[], epochs bigint[], results jsonb, gone boolean)
returns bigint[]
language plpgsql
set jit = off set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  settled bigint[];
  news    jsonb;
  readers bigint[];
begin
  if settle_done.gone then
    with done as (
      delete from howdah.task t using unnest(settle_done.ids, settle_done.epochs) d (id, epoch)
       where t.id = any (settle_done.ids) and t.id = d.id and t.epoch = d.epoch and t.worker = settle_done.worker
      returning t.id, t.parent, t.told, t.inbox_seq
    )
    select array_agg(d.id), array_agg(d.id) filter (where d.inbox_seq > 0),
           jsonb_agg(jsonb_build_object('id', d.id, 'parent', d.parent, 'told', d.told, 'status', 'succeeded')) filter (where d.parent is not null)
      into settled, readers, news from done d;
  else
    with done as (
      delete from howdah.task t using unnest(settle_done.ids, settle_done.epochs) d (id, epoch)
       where t.id = any (settle_done.ids) and t.id = d.id and t.epoch = d.epoch and t.worker = settle_done.worker
      returning t.*
    ), kept as (
      insert into howdah.archive (id, kind, queue, status, priority, run_at, step, payload, key, attempt, lost, epoch,
                                  worker, claimed_at, progress, last_error, result, created_at, finished_at, parent, source, tick,
              groups, cost, start_before, finish_before, late)
      select d.id, d.kind, d.queue, 'succeeded', d.priority, d.run_at, d.step, d.payload, d.key, d.attempt, d.lost, d.epoch,
             d.worker, d.claimed_at, d.progress, d.last_error, settle_done.results -> d.id::text, d.created_at, clock, d.parent, d.source, d.tick,
           d.groups, d.cost, d.start_before, d.finish_before, d.late
        from done d
    )
    select array_agg(d.id), array_agg(d.id) filter (where d.inbox_seq > 0),
           jsonb_agg(jsonb_build_object('id', d.id, 'parent', d.parent, 'told', d.told, 'status', 'succeeded',
                                        'result', settle_done.results -> d.id::text)) filter (where d.parent is not null)
      into settled, readers, news from done d;
  end if;
  if readers is not null then
    perform howdah.empty_inboxes(readers);
  end if;
  if news is not null then
    -- Parents come late here: whoever knows of them settles their children as transitions, and has all locked in order.
    perform howdah.lock_tasks(array(select (x ->> 'parent')::bigint from jsonb_array_elements(news) x));
    perform howdah.deliver(howdah.ends(news));
  end if;
  return settled;
end
$$;
comment on function howdah.settle_done(uuid, bigint[], bigint[], jsonb, boolean) is
  'End attempts as succeeded; results is {"id": result}. gone: keep no archive row. Returns the ids that were still this worker''s at this epoch; the others are stale.';
