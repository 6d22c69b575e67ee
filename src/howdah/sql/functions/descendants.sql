create or replace function howdah.descendants(ids bigint[]) returns bigint[]
language sql stable
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
  with recursive family as (
    select t.id from howdah.task t where t.parent = any (descendants.ids)
    union
    -- OFFSET 0, so that it cannot be turned round: a walk along all that have a parent, for each of the family.
    select t.id from family f cross join lateral (select x.id from howdah.task x where x.parent = f.id offset 0) t
  )
  select array(select id from family order by id)
$$;
comment on function howdah.descendants(bigint[]) is 'The live tasks that these tasks spawned, and those that they spawned, and so on.';
