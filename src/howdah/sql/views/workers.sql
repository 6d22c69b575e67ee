create or replace view howdah.workers as
select w.id, case when w.status = 'dead' then 'dead' when w.lease_until < clock_timestamp() then 'late'
                  when w.stop_at is not null then 'stopping' when w.asleep then 'idle' else 'busy' end as state,
       w.host, w.pid, w.version, w.queues, w.kinds, w.concurrency, coalesce(r.running, 0) as running,
       w.started_at, w.lease_until, w.ended_at
  from howdah.worker w
  left join (select worker, count(*) as running from howdah.task where status = 'running' group by worker) r on r.worker = w.id;
comment on view howdah.workers is 'Every worker of the last day: idle, busy, stopping, late (its lease is over, nobody has taken it back yet) or dead.';
