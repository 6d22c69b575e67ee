create or replace function howdah.unschedule(name text) returns boolean
language plpgsql
as $$
#variable_conflict use_column
begin
  delete from howdah.schedule s where s.name = unschedule.name;
  return found;
end
$$;
comment on function howdah.unschedule(text) is 'Forget a schedule; the tasks it has fired stay. False if there is none of this name. One that code declares comes back with the next worker: pause that.';
