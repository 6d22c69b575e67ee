-- CREATE OR REPLACE VIEW can only append columns, and users build views on this one: append.
create or replace view howdah.queues as
select name, coalesce(q.paused, false) as paused, q.paused_at, q.paused_by, q.reason,
       coalesce(c.due, 0) as due, coalesce(c.later, 0) as later, coalesce(c.running, 0) as running,
       coalesce(c.suspended, 0) as suspended, coalesce(c.failed, 0) as failed, c.oldest_due, q.max_running, coalesce(q.fair, false) as fair, q.ageing,
       q.draining_at, q.draining_by, q.draining_reason
  from (select queue as name,
               count(*) filter (where status = 'queued' and run_at <= clock_timestamp()) as due,
               count(*) filter (where status = 'queued' and run_at > clock_timestamp()) as later,
               count(*) filter (where status = 'running') as running,
               count(*) filter (where status = 'suspended') as suspended,
               count(*) filter (where status = 'failed') as failed,
               min(run_at) filter (where status = 'queued' and run_at <= clock_timestamp()) as oldest_due
          from howdah.task group by queue) c
  full join howdah.queue q using (name);
comment on view howdah.queues is 'Every queue that has live tasks or settings, with its counts and the oldest due time.';
