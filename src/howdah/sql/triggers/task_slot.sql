-- Whoever ends an attempt, and be it with UPDATE or DELETE by hand, gives its places back: they cannot leak.
create or replace function howdah.task_slot() returns trigger
language plpgsql
as $$
begin
  delete from howdah.slot s where s.task_id = old.id;
  return null;
end
$$;
comment on function howdah.task_slot() is 'Trigger: a task that runs no more has no place in its groups.';
create or replace trigger task_slot after update of status on howdah.task
  for each row when (old.status = 'running' and new.status <> 'running' and old.groups is not null)
  execute function howdah.task_slot();
create or replace trigger task_slot_deleted after delete on howdah.task
  for each row when (old.status = 'running' and old.groups is not null)
  execute function howdah.task_slot();
