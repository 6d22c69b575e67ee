create or replace function howdah.task_wake() returns trigger
language plpgsql
as $$
declare
  asleep   boolean;
  draining boolean;
begin
  -- The cheap questions first, and in one: with nobody asleep and nothing drained, nobody looks at the rows.
  select exists (select from howdah.worker w where w.asleep and w.status = 'live'),
         exists (select from howdah.queue q where q.draining_at is not null)
    into asleep, draining;
  -- What a queue takes that is drained: children of tasks that are there already, and what spawn has looked at.
  if draining and current_setting('howdah.accepted', true) is distinct from 'on' then
    perform howdah.check_open(x.queue) from (select distinct n.queue from new_rows n where n.parent is null) x;
  end if;
  if asleep then
    perform howdah.wake(q.queue) from (select distinct n.queue from new_rows n where n.status = 'queued') q;
  end if;
  return null;
end
$$;
comment on function howdah.task_wake() is 'Trigger: one hint per statement and queue to workers that sleep; error HW010 for a queue that takes no more tasks.';
create or replace trigger task_wake after insert on howdah.task
  referencing new table as new_rows for each statement execute function howdah.task_wake();
