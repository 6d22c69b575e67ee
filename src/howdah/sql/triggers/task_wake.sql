create or replace function howdah.task_wake() returns trigger
language plpgsql
as $$
begin
  -- What a queue takes that is drained: children of tasks that are there already, and what spawn has looked at.
  if exists (select from howdah.queue q where q.draining_at is not null) and current_setting('howdah.accepted', true) is distinct from 'on' then
    perform howdah.check_open(x.queue) from (select distinct n.queue from new_rows n where n.parent is null) x;
  end if;
  -- The cheap question first: with nobody asleep, nobody looks at the rows.
  if exists (select from howdah.worker w where w.asleep and w.status = 'live') then
    perform howdah.wake(q.queue) from (select distinct n.queue from new_rows n where n.status = 'queued') q;
  end if;
  return null;
end
$$;
comment on function howdah.task_wake() is 'Trigger: one hint per statement and queue to workers that sleep; error HW010 for a queue that takes no more tasks.';
create or replace trigger task_wake after insert on howdah.task
  referencing new table as new_rows for each statement execute function howdah.task_wake();
