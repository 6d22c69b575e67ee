-- The rows are locked by whoever calls, ids ascending.
create or replace function howdah.cancel_children(parents bigint[]) returns void
language plpgsql
as $$
declare
  child record;
begin
  for child in
    select t.id, t.parent from howdah.task t where t.id = any (howdah.descendants(cancel_children.parents)) order by t.id
  loop
    perform howdah.cancel_one(child.id, format('its parent, task %s, was cancelled', child.parent));
  end loop;
end
$$;
comment on function howdah.cancel_children(bigint[]) is 'Cancel whatever these tasks spawned, and what that spawned.';
