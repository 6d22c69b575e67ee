create or replace function howdah.known_schedule(name text) returns howdah.schedule
language plpgsql
as $$
#variable_conflict use_column
declare
  s     howdah.schedule;
  known text;
begin
  select * into s from howdah.schedule x where x.name = known_schedule.name for no key update;
  if not found then
    select string_agg(x.name, ', ' order by x.name) into known from (select name from howdah.schedule order by name limit 20) x;
    raise exception using errcode = 'HW009', message = format('there is no schedule %L', known_schedule.name),
      hint = coalesce('There are: ' || known, 'There is none yet: SELECT howdah.schedule(…)');
  end if;
  return s;
end
$$;
comment on function howdah.known_schedule(text) is 'The schedule of this name, locked. Error HW009: there is none.';
