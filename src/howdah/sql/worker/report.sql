create or replace function howdah.report(worker uuid, ids bigint[], epochs bigint[], progress jsonb[]) returns void
language sql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
  update howdah.task t set progress = p.progress
    from (select * from unnest(report.ids, report.epochs, report.progress) r (id, epoch, progress) order by r.id) p
   where t.id = any (array[p.id]) and t.epoch = p.epoch and t.worker = report.worker
$$;
comment on function howdah.report(uuid, bigint[], bigint[], jsonb[]) is 'Write the progress of running tasks, fenced like every write of an attempt.';
