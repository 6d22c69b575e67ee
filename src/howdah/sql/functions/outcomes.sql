create or replace function howdah.outcomes(ids bigint[]) returns table (id bigint, status text, result jsonb, error text)
language sql stable
as $$
  select t.id, t.status, null::jsonb, t.error from howdah.task t where t.id = any (outcomes.ids)
  union all
  select a.id, a.status, a.result, coalesce(a.reason, a.last_error) from howdah.archive a where a.id = any (outcomes.ids)
$$;
comment on function howdah.outcomes(bigint[]) is 'Where these tasks stand, with result or error. An id that is gone has no row.';
