create or replace function howdah.step_counts(kind text) returns table (step text, status text, tasks bigint)
language sql stable
as $$
  select t.step, t.status, count(*) from howdah.task t where t.kind = step_counts.kind group by t.step, t.status
$$;
comment on function howdah.step_counts(text) is 'How many live tasks of a machine or pipeline stand where, by status.';
