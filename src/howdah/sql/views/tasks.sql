-- CREATE OR REPLACE VIEW can only append columns, and users build views on this one: append.
create or replace view howdah.tasks as
select id, kind, queue, status, step, payload, key, priority, attempt, lost, run_at, created_at, claimed_at,
       null::timestamptz as finished_at, worker, progress, null::jsonb as result, error, last_error, reason, epoch,
       parent, children, inbox_seq
  from howdah.task
union all
select id, kind, queue, status, step, payload, key, priority, attempt, lost, run_at, created_at, claimed_at,
       finished_at, worker, progress, result, null, last_error, reason, epoch,
       parent, 0, 0
  from howdah.archive;
comment on view howdah.tasks is 'Every task, live and ended.';
