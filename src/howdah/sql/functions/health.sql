-- To look at one more sort of thing: a function health_of_… beside the others, a line in `found`, and its names in `there`.
create or replace function howdah.health()
returns table (scope text, name text, colour text, code text, reason text, advice text, figures jsonb)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
begin
  return query
  with found as materialized (
    select * from howdah.health_of_waiting(clock)
    union all select * from howdah.health_of_attempts(clock)
    union all select * from howdah.health_of_schedules(clock)
    union all select * from howdah.health_of_groups(clock)
    union all select * from howdah.health_of_workers(clock)
    union all select * from howdah.health_of_database(clock)
  ), there (scope, name) as (
    select 'kind', k.name from howdah.kind k
    union select 'queue', k.queue from howdah.kind k
    union select 'queue', q.name from howdah.queue q
    union select 'queue', w from howdah.waiting_queues() w
    union select 'schedule', s.name from howdah.schedule s where s.retired_at is null
    union select 'worker', 'workers'
    union select 'database', current_database()::text
  ), everything as (
    select f.scope, f.name, f.colour, f.code, f.reason, f.advice, f.figures from found f
    union all
    select t.scope, t.name, 'green', 'well', 'Nothing is wrong', 'Nothing to do', '{}' from there t
     where not exists (select from found f where f.scope = t.scope and f.name = t.name)
  )
  select e.* from everything e
   order by array_position('{red,yellow,green}', e.colour), array_position('{database,worker,queue,kind,group,schedule}', e.scope), e.name, e.code;
end
$$;
comment on function howdah.health() is
  'How everything is: a row for each thing that is wrong, and one for each kind, queue, schedule and so on with which nothing is; worst first. colour: green, yellow, red; reason and advice in words, figures as numbers.';
