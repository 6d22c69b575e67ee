create or replace function howdah.task_wake() returns trigger
language plpgsql
as $$
begin
  -- The cheap question first: with nobody asleep, nobody looks at the rows.
  if exists (select from howdah.worker w where w.asleep and w.status = 'live') then
    perform howdah.wake(q.queue) from (select distinct n.queue from new_rows n where n.status = 'queued') q;
  end if;
  return null;
end
$$;
comment on function howdah.task_wake() is 'Trigger: one hint per statement and queue to workers that sleep.';
create or replace trigger task_wake after insert on howdah.task
  referencing new table as new_rows for each statement execute function howdah.task_wake();
