-- UPDATE howdah.task SET error = NULL is the API to go on with a parked task: same step, same payload, fresh attempts,
-- whether or not the status is set with it.
create or replace function howdah.task_resume() returns trigger
language plpgsql
as $$
begin
  new.status := 'queued';
  new.attempt := 0;
  new.lost := 0;
  new.last_error := old.error;
  new.run_at := greatest(howdah.now(), case when new.run_at is distinct from old.run_at then new.run_at end);
  -- Whoever resumes it wants it to run, late as it may be; unless they say until when.
  new.start_before := nullif(new.start_before, old.start_before);
  new.finish_before := nullif(new.finish_before, old.finish_before);
  if num_nonnulls(new.start_before, new.finish_before) = 0 then
    new.late := null;
  end if;
  insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, message, actor)
  values (howdah.now(), old.id, 'resume', old.kind, new.step, old.attempt, old.epoch, old.error, session_user);
  perform howdah.wake(new.queue);
  return new;
end
$$;
comment on function howdah.task_resume() is 'Trigger: clearing the error of a failed task queues it again, without the deadlines it had.';
create or replace trigger task_resume before update of error on howdah.task
  for each row when (old.status = 'failed' and new.error is null and new.step_no = old.step_no)
  execute function howdah.task_resume();
