-- The beginnings of the lines, not the lines: with a million due tasks this reads as much as with ten thousand. Of each queue
-- and priority the oldest 10,000; of those with groups, which are kept group by group, the ten oldest of each of 1,000 groups.
create or replace function howdah.longest_waiting(clock timestamptz)
returns table (queue text, kind text, due_since timestamptz, task_id bigint, due bigint, more boolean)
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with recursive lane as (
    -- A loose scan: one probe for each queue and priority.
    (select t.queue, t.priority from howdah.task t
      where t.status = 'queued' and t.groups is null order by t.queue, t.priority desc limit 1)
    union all
    select n.queue, n.priority from lane l cross join lateral (
      (select t.queue, t.priority, 1 as choice from howdah.task t
        where t.status = 'queued' and t.groups is null and t.queue = l.queue and t.priority < l.priority order by t.priority desc limit 1)
      union all
      (select t.queue, t.priority, 2 from howdah.task t
        where t.status = 'queued' and t.groups is null and t.queue > l.queue order by t.queue, t.priority desc limit 1)
      order by choice limit 1) n
  ), grouped as (
    (select t.queue, t.priority from howdah.task t
      where t.status = 'queued' and t.groups is not null order by t.queue, t.priority desc limit 1)
    union all
    select n.queue, n.priority from grouped l cross join lateral (
      (select t.queue, t.priority, 1 as choice from howdah.task t
        where t.status = 'queued' and t.groups is not null and t.queue = l.queue and t.priority < l.priority order by t.priority desc limit 1)
      union all
      (select t.queue, t.priority, 2 from howdah.task t
        where t.status = 'queued' and t.groups is not null and t.queue > l.queue order by t.queue, t.priority desc limit 1)
      order by choice limit 1) n
  ), group_lane as (
    select l.queue, l.priority, g.groups, count(*) over (partition by l.queue, l.priority) as groups_seen from grouped l cross join lateral (
      with recursive each as (
        (select t.groups from howdah.task t
          where t.status = 'queued' and t.groups is not null and t.queue = l.queue and t.priority = l.priority order by t.groups limit 1)
        union all
        select (select t.groups from howdah.task t
                 where t.status = 'queued' and t.groups is not null and t.queue = l.queue and t.priority = l.priority and t.groups > e.groups
                 order by t.groups limit 1)
          from each e where e.groups is not null
      )
      select e.groups from each e where e.groups is not null limit 1000) g
  ), head as (
    select l.queue, h.kind, h.run_at, h.id, h.seen = 10000 as more from lane l cross join lateral (
      select x.*, count(*) over () as seen from (
        select t.kind, t.run_at, t.id from howdah.task t
         where t.status = 'queued' and t.groups is null and t.queue = l.queue and t.priority = l.priority and t.run_at <= clock
         order by t.run_at, t.id limit 10000) x) h
    union all
    select l.queue, h.kind, h.run_at, h.id, h.seen = 10 or l.groups_seen = 1000 from group_lane l cross join lateral (
      select x.*, count(*) over () as seen from (
        select t.kind, t.run_at, t.id from howdah.task t
         where t.status = 'queued' and t.groups is not null and t.queue = l.queue and t.priority = l.priority and t.groups = l.groups and t.run_at <= clock
         order by t.run_at, t.id limit 10) x) h
  )
  select h.queue, h.kind, min(h.run_at), (array_agg(h.id order by h.run_at, h.id))[1], count(*), bool_or(h.more) from head h group by h.queue, h.kind;
end
$$;
comment on function howdah.longest_waiting(timestamptz) is
  'Of each queue and kind the task that is due for the longest time, and how many are due, as far as the beginnings of the lines tell; more: there may be others behind.';
