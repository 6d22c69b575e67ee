-- CREATE OR REPLACE VIEW can only append columns, and users build views on this one: append.
-- A time that never comes is NULL here: many programs, Python among them, have no value for infinity.
create or replace view howdah.tasks as
select id, kind, queue, status, step, payload, key, priority, attempt, lost, nullif(run_at, 'infinity') as run_at, created_at, claimed_at,
       null::timestamptz as finished_at, worker, progress, null::jsonb as result, error, last_error, reason, epoch,
       parent, children, inbox_seq, source, tick, groups, cost, start_before, finish_before, late
  from howdah.task
union all
select id, kind, queue, status, step, payload, key, priority, attempt, lost, nullif(run_at, 'infinity'), created_at, claimed_at,
       finished_at, worker, progress, result, null, last_error, reason, epoch,
       parent, 0, 0, source, tick, groups, cost, start_before, finish_before, late
  from howdah.archive;
comment on view howdah.tasks is 'Every task, live and ended.';
