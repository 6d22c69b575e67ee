-- What operators set stays until the code says something else than it did.
create or replace function howdah.declare_limits(limits jsonb, queues jsonb) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  each jsonb;
begin
  for each in select e.value from jsonb_array_elements(declare_limits.limits) e order by e.value ->> 'name' loop
    continue when exists (select from howdah."group" g where g.name = each ->> 'name' and g.declared = each);
    if exists (select from howdah."group" g where g.name = each ->> 'name' and g.declared is not null) then
      perform howdah.unset_limit(each ->> 'name');
    end if;
    perform howdah.set_limit(each ->> 'name', (each ->> 'running')::int, each ->> 'rate', (each ->> 'burst')::double precision);
    update howdah."group" g set declared = each where g.name = each ->> 'name';
  end loop;
  for each in select e.value from jsonb_array_elements(declare_limits.queues) e order by e.value ->> 'name' loop
    continue when exists (select from howdah.queue q where q.name = each ->> 'name' and q.declared = each);
    perform howdah.set_queue(each ->> 'name', coalesce((each ->> 'running')::int, 0), coalesce((each ->> 'fair')::boolean, false),
                             make_interval(secs => coalesce((each ->> 'ageing')::double precision, 0)));
    update howdah.queue q set declared = each where q.name = each ->> 'name';
  end loop;
end
$$;
comment on function howdah.declare_limits(jsonb, jsonb) is
  'What the code of a worker says of groups, [{name, running, rate, burst}], and of queues, [{name, running, fair, ageing (seconds)}]: heeded if it is not what it said before, so that what operators have set stays.';
