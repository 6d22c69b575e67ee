-- Each priority twice: first those of its tasks that have waited long enough to come before the next one in this order, then the rest.
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
  ), head as (
    select p.priority, least(
             (select t.run_at from howdah.task t where t.status = 'queued' and t.groups is null and t.queue = aged_levels.queue
                 and t.priority = p.priority order by t.run_at limit 1),
             -- Of those with groups the first of their lanes may stand for all: the others come round.
             (select min(x.run_at) from (select t.run_at from howdah.task t where t.status = 'queued' and t.groups is not null and t.queue = aged_levels.queue
                 and t.priority = p.priority order by t.groups, t.run_at limit 100) x)) as run_at
      from (select l.priority from level l union select g.priority from gang g) p where p.priority is not null
  ), aged as (
    select h.priority, h.run_at,
           h.priority + floor(extract(epoch from greatest(clock - h.run_at, '0')) / extract(epoch from aged_levels.ageing)) as counts
      from head h where h.run_at <= clock
  ), placed as (
    select a.*, row_number() over (order by a.counts desc, a.priority desc) as place, lead(a.counts) over (order by a.counts desc, a.priority desc) as next
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
