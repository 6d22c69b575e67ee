create or replace function howdah.lock_tasks(ids bigint[]) returns void
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  perform from howdah.task t where t.id = any (lock_tasks.ids) order by t.id for no key update;
end
$$;
comment on function howdah.lock_tasks(bigint[]) is 'Lock these tasks, ids ascending, as everybody does who needs more than one.';
