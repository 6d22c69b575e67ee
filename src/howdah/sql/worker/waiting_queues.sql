-- A loose index scan: one probe per queue, however long the queues are.
create or replace function howdah.waiting_queues() returns setof text
language sql stable
set jit = off set enable_seqscan = off
as $$
  with recursive names as (
    (select queue from howdah.task where status = 'queued' and groups is null order by queue limit 1)
    union all
    select (select t.queue from howdah.task t where t.status = 'queued' and t.groups is null and t.queue > n.queue order by t.queue limit 1)
      from names n where n.queue is not null
  ), grouped as (
    (select queue from howdah.task where status = 'queued' and groups is not null order by queue limit 1)
    union all
    select (select t.queue from howdah.task t where t.status = 'queued' and t.groups is not null and t.queue > n.queue order by t.queue limit 1)
      from grouped n where n.queue is not null
  )
  select queue from names where queue is not null
  union
  select queue from grouped where queue is not null
$$;
comment on function howdah.waiting_queues() is 'The names of all queues that have a queued task.';
