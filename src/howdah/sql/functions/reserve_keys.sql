-- Only for tasks whose live key is the caller's: nobody else writes these rows then, so nobody waits here for long.
create or replace function howdah.reserve_keys(ids bigint[], unique_for interval) returns void
language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
begin
  insert into howdah.key as k (key, kind, task_id, until)
  select t.key, t.kind, t.id, clock + least(reserve_keys.unique_for, interval '1000 years')
    from howdah.task t where t.id = any (reserve_keys.ids) and t.key is not null
   order by t.key collate "C"
  on conflict (key) do update
     set kind = excluded.kind, task_id = excluded.task_id,
         until = case when k.task_id = excluded.task_id then greatest(k.until, excluded.until) else excluded.until end
   where k.task_id = excluded.task_id or k.until <= clock;
end
$$;
comment on function howdah.reserve_keys(bigint[], interval) is
  'Keep the keys of these tasks taken for so long from now, also when the tasks have ended. A key that another has reserved meanwhile stays as it is.';
