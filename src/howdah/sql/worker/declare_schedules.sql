-- What the code says at each start. A pause is an operator's, and stays.
create or replace function howdah.declare_schedules(kinds text[], schedules jsonb) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  perform howdah.put_schedules(declare_schedules.schedules, true)
    where jsonb_array_length(declare_schedules.schedules) > 0;
  update howdah.schedule s set retired_at = howdah.now()
   where s.declared and s.retired_at is null and s.kind = any (declare_schedules.kinds)
     and not exists (select from jsonb_array_elements(declare_schedules.schedules) e where e ->> 'name' = s.name);
end
$$;
comment on function howdah.declare_schedules(text[], jsonb) is
  'Make the schedules of these kinds what the code says: written as howdah.put_schedules does; those that were declared before and are no more retire.';
