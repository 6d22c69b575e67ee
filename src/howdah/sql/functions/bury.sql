-- For the rare single ends (cancel, rescue). The hot path writes the archive in bulk, in settle_done.
create or replace function howdah.bury(gone howdah.task, status text, result jsonb, reason text) returns void
language sql
as $$
  insert into howdah.archive (id, kind, queue, status, priority, run_at, step, payload, key, attempt, lost, epoch,
                              worker, claimed_at, reason, progress, last_error, result, created_at, finished_at, parent, source, tick,
              groups, cost, start_before, finish_before, late)
  select gone.id, gone.kind, gone.queue, bury.status, gone.priority, gone.run_at, gone.step, gone.payload, gone.key, gone.attempt,
         gone.lost, gone.epoch, gone.worker, gone.claimed_at, coalesce(bury.reason, gone.reason), gone.progress,
         coalesce(gone.error, gone.last_error), bury.result, gone.created_at, howdah.now(), gone.parent, gone.source, gone.tick,
           gone.groups, gone.cost, gone.start_before, gone.finish_before, gone.late
   where not exists (select from howdah.kind k where k.name = gone.kind and k.keep is null);
  select howdah.empty_inboxes(array[gone.id]) where gone.inbox_seq > 0;
  select howdah.deliver(howdah.ends(jsonb_build_array(jsonb_build_object(
           'id', gone.id, 'parent', gone.parent, 'told', gone.told, 'status', bury.status, 'result', bury.result,
           'error', coalesce(bury.reason, gone.reason)))))
   where gone.parent is not null;
$$;
comment on function howdah.bury(howdah.task, text, jsonb, text) is
  'Write one ended task to the archive, unless its kind keeps none; forget its inbox, and tell its parent.';
