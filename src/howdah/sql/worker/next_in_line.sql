-- With overlap = queue a tick waits, suspended and never claimed, until nothing that its schedule fired before is live.
create or replace function howdah.next_in_line(out woken int, out waiting boolean)
language plpgsql
as $$
#variable_conflict use_column
begin
  with first as materialized (
    select distinct on (t.source) t.id, t.source from howdah.task t
     where t.status = 'suspended' and t.source is not null and t.epoch = 0 and t.tick is not null
     order by t.source, t.tick
  ), free as materialized (
    select f.id from first f
     where not exists (select from howdah.task b where b.source = f.source and b.status <> 'failed' and (b.status <> 'suspended' or b.epoch > 0))
  ), up as (
    update howdah.task t set status = 'queued', run_at = howdah.now()
      from free where t.id = any (array[free.id]) and t.status = 'suspended' and t.epoch = 0
    returning t.queue
  ), told as (
    select howdah.wake(q.queue) from (select distinct queue from up) q
  )
  select (select count(*) from up), exists (select from first), (select count(*) from told) into woken, waiting;
end
$$;
comment on function howdah.next_in_line() is 'Wake the tasks of schedules whose turn it is; waiting: some stood in line.';
