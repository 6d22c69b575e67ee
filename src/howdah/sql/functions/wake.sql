-- A hint, and only when somebody may be asleep: NOTIFY takes a lock at commit that all notifying commits share.
create or replace function howdah.wake(queue text) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  if exists (select from howdah.worker w
              where w.asleep and w.status = 'live' and (w.queues is null or w.queues ? wake.queue)) then
    perform pg_notify('howdah', 'wake ' || wake.queue);
  end if;
end
$$;
comment on function howdah.wake(text) is 'Tell sleeping workers of this queue to look. Polling finds the work without it, later.';
