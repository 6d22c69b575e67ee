create or replace function howdah.drain(queue text, reason text default null) returns bigint
language plpgsql
as $$
#variable_conflict use_column
begin
  if coalesce(length(drain.queue), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'queue must be a name of 1 to 200 characters',
      hint = 'SELECT name FROM howdah.queues lists those in use';
  end if;
  insert into howdah.queue as q (name, draining_at, draining_by, draining_reason)
  values (drain.queue, howdah.now(), session_user, drain.reason)
  on conflict (name) do update
     set draining_at = coalesce(q.draining_at, excluded.draining_at), draining_by = excluded.draining_by, draining_reason = excluded.draining_reason;
  return (select count(*) from howdah.task t where t.queue = drain.queue and t.status <> 'failed');
end
$$;
comment on function howdah.drain(text, text) is
  'Let a queue take no more tasks, and finish what is in it, also what is due later: enqueues are refused with HW010, ticks of schedules skipped; steps, retries and children of what is in it go on. Returns how many tasks are left, without parked ones. howdah.resume opens it again.';
