-- The least a durable loop can do in one round trip: finished rows to the archive, the next batch to the worker.
with gone as (
  delete from howdah_bench.task t using unnest(cast(%(ids)s as bigint[])) d (id) where t.id = d.id returning t.*
), kept as (
  insert into howdah_bench.archive
  select id, kind, queue, 'succeeded', priority, run_at, payload, attempt, epoch, worker, claimed_at, created_at, clock_timestamp() from gone
), pick as materialized (
  select id from howdah_bench.task
   where status = 'queued' and queue = 'default' and run_at <= now()
   order by priority desc, run_at, id
   limit %(room)s for update skip locked
), take as (
  update howdah_bench.task t set status = 'running', worker = %(worker)s, epoch = t.epoch + 1, attempt = t.attempt + 1, claimed_at = now()
    from pick where t.id = pick.id
  returning t.id, t.payload
)
select json_agg(json_build_array(id, payload))::text as claimed from take
