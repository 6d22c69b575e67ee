create or replace function howdah.wake_suspended(at_most int default 1000) returns table (woken int, next_in double precision)
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock  timestamptz := howdah.now();
  queues text[];
begin
  with due as materialized (
    select t.id from howdah.task t where t.status = 'suspended' and t.run_at < 'infinity' and t.run_at <= clock
     order by t.run_at limit wake_suspended.at_most for no key update skip locked
  ), up as (
    update howdah.task t set status = 'queued' where t.id = any (array(select id from due)) returning t.queue
  )
  select count(*), array_agg(distinct u.queue) into woken, queues from up u;
  perform howdah.wake(q) from unnest(queues) q;
  select extract(epoch from t.run_at - clock) into next_in from howdah.task t
   where t.status = 'suspended' and t.run_at < 'infinity' and t.run_at > clock order by t.run_at limit 1;
  return next;
end
$$;
comment on function howdah.wake_suspended(int) is
  'Queue suspended tasks whose time has come without a message. Returns how many, and the seconds until the next one.';
