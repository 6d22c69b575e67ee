-- A row that somebody holds locked is passed over: the next word of that task comes soon, and the others do not wait.
create or replace function howdah.report(worker uuid, ids bigint[], epochs bigint[], progress jsonb[]) returns void
language sql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
  with mine as materialized (
    select t.id, r.progress
      from (select * from unnest(report.ids, report.epochs, report.progress) r (id, epoch, progress) order by r.id) r
      join howdah.task t on t.id = any (array[r.id])
     where t.epoch = r.epoch and t.worker = report.worker
       for no key update of t skip locked
  )
  update howdah.task t set progress = m.progress from mine m where t.id = any (array[m.id])
$$;
comment on function howdah.report(uuid, bigint[], bigint[], jsonb[]) is 'Write the progress of running tasks, fenced like every write of an attempt.';
