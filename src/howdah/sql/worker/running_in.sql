create or replace function howdah.running_in(queue text) returns int
language plpgsql
as $$
#variable_conflict use_column
begin
  return (select count(*) from howdah.task t where t.status = 'running' and t.queue = running_in.queue);
end
$$;
comment on function howdah.running_in(text) is 'How many tasks of a queue run, in the whole fleet. Whoever is to claim by it has called lock_limits.';
