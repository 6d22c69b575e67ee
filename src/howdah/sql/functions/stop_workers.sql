create or replace function howdah.stop_workers(worker uuid default null) returns int
language plpgsql
as $$
#variable_conflict use_column
declare
  asked int;
begin
  -- Also those whose lease is over: they may come back and hear of it. Counted are those that surely live.
  with told as (
    update howdah.worker w set stop_at = coalesce(w.stop_at, howdah.now())
     where w.status = 'live' and (stop_workers.worker is null or w.id = stop_workers.worker)
    returning w.lease_until
  )
  select count(*) filter (where t.lease_until >= howdah.now()) into asked from told t;
  if asked > 0 then
    perform pg_notify('howdah', concat_ws(' ', 'stop', stop_workers.worker));
  end if;
  return asked;
end
$$;
comment on function howdah.stop_workers(uuid) is
  'Ask every live worker, or one, to finish its running tasks and exit. Returns how many were asked. Workers that poll hear it at their next heartbeat.';
