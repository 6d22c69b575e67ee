create or replace function howdah.known_task(id bigint) returns howdah.task
language plpgsql
as $$
#variable_conflict use_column
declare
  live howdah.task;
begin
  select * into live from howdah.task t where t.id = known_task.id for no key update;
  if not found then
    if exists (select from howdah.archive a where a.id = known_task.id) then
      raise exception using errcode = 'HW005', message = format('task %s has already ended', known_task.id), hint = 'Enqueue it again instead';
    end if;
    raise exception using errcode = 'HW004', message = format('there is no task %s', known_task.id),
      hint = 'It never existed, was rolled back, or its retention is over';
  elsif live.status = 'running' then
    raise exception using errcode = 'HW005', message = format('task %s is running', known_task.id), hint = 'Cancel it first, or wait';
  end if;
  return live;
end
$$;
comment on function howdah.known_task(bigint) is 'The live task of this id, locked, that does not run. Errors: HW004 no such task, HW005 running or already ended.';
