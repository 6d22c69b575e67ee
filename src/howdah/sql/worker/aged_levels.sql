-- Each priority twice: first those of its tasks that have waited long enough to come before the next one in this order, then the
-- rest. Of those with groups the oldest of the first lanes stands for all. Priorities of which nothing is due come last: the claim
-- learns from them when something is.
create or replace function howdah.aged_levels(queue text, ageing interval) returns table (priority int, until timestamptz)
language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
begin
  return query
  with recursive level as (
    (select t.priority from howdah.task t where t.status = 'queued' and t.groups is null and t.queue = aged_levels.queue order by t.priority desc limit 1)
    union all
    select (select t.priority from howdah.task t
             where t.status = 'queued' and t.groups is null and t.queue = aged_levels.queue and t.priority < l.priority order by t.priority desc limit 1)
      from level l where l.priority is not null
  ), gang as (
    (select t.priority from howdah.task t where t.status = 'queued' and t.groups is not null and t.queue = aged_levels.queue order by t.priority desc limit 1)
    union all
    select (select t.priority from howdah.task t
             where t.status = 'queued' and t.groups is not null and t.queue = aged_levels.queue and t.priority < l.priority order by t.priority desc limit 1)
      from gang l where l.priority is not null
  ), lane as (
    select g.priority, x.groups, x.run_at, 1 as n
      from gang g cross join lateral (
        select t.groups, t.run_at from howdah.task t
         where t.status = 'queued' and t.groups is not null and t.queue = aged_levels.queue and t.priority = g.priority
         order by t.groups, t.run_at limit 1) x
    union all
    select l.priority, x.groups, x.run_at, l.n + 1
      from lane l cross join lateral (
        select t.groups, t.run_at from howdah.task t
         where t.status = 'queued' and t.groups is not null and t.queue = aged_levels.queue and t.priority = l.priority and t.groups > l.groups
         order by t.groups, t.run_at limit 1) x
     where l.n < 256
  ), head as (
    select h.priority, min(h.run_at) as run_at
      from (select l.priority, (select t.run_at from howdah.task t
                                 where t.status = 'queued' and t.groups is null and t.queue = aged_levels.queue and t.priority = l.priority
                                 order by t.run_at limit 1) as run_at
              from level l where l.priority is not null
            union all
            select l.priority, l.run_at from lane l) h
     group by h.priority
  ), aged as (
    select h.priority,
           case when h.run_at <= clock then h.priority + floor(extract(epoch from clock - h.run_at) / extract(epoch from aged_levels.ageing)) end as counts
      from head h
  ), placed as (
    select a.*, row_number() over (order by a.counts desc nulls last, a.priority desc) as place,
           lead(a.counts) over (order by a.counts desc nulls last, a.priority desc) as next
      from aged a
  )
  select x.priority, x.until from (
    select p.priority, least(clock, clock - (p.next - p.priority) * aged_levels.ageing) as until, p.place, 1 as round from placed p where p.next is not null
    union all
    select p.priority, clock, p.place, 2 from placed p) x
   order by x.round, x.place;
end
$$;
comment on function howdah.aged_levels(text, interval) is
  'In which order to visit the priorities of a queue whose tasks count one priority higher for each `ageing` that they have waited, and up to which due time.';
