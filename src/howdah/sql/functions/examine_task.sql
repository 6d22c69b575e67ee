create or replace function howdah.examine_task(task howdah.task) returns boolean
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
  broken text;
  wrong  text;
  tip    text;
begin
  if task.status not in ('queued', 'running', 'suspended', 'failed') then
    broken := 'status_is_known';
    wrong := format('status must be queued, running, suspended or failed, not %L', task.status);
    tip := 'A task ends with howdah.cancel(id), and goes on with UPDATE … SET error = NULL';
  elsif task.status = 'queued' and not isfinite(task.run_at) then
    broken := 'queued_has_a_time';
    wrong := format('run_at of a queued task must be a point in time, not %s', task.run_at);
    tip := 'now() is at once';
  elsif (task.status = 'running') is distinct from (task.worker is not null and task.claim_seq is not null) then
    broken := 'running_has_one_owner';
    wrong := format('a running task has a worker and a claim_seq, and no other has; this one is %s', task.status);
    tip := 'Workers set these; to run it anew: howdah.retry(id)';
  elsif (task.status = 'failed') is distinct from (task.error is not null) then
    broken := 'failed_has_an_error';
    wrong := format('a failed task has an error, and no other has; this one is %s', task.status);
    tip := 'To go on with it: UPDATE … SET error = NULL';
  elsif task.cancel_at is not null and task.status <> 'running' then
    broken := 'only_running_waits_for_cancel';
    wrong := format('cancel_at is for running tasks; this one is %s', task.status);
    tip := 'SELECT howdah.cancel(id)';
  elsif (task.late is null) <> (num_nonnulls(task.start_before, task.finish_before) = 0) or task.late not in ('drop', 'park', 'run') then
    broken := 'deadline_has_a_policy';
    wrong := format('late must be drop, park or run where there is a deadline, and NULL where there is none; it is %L', task.late);
    tip := 'Set start_before or finish_before together with late';
  elsif length(task.kind) not between 1 and 200 then
    broken := 'task_kind_check'; wrong := 'kind must be a name of 1 to 200 characters'; tip := 'It is the name of a handler';
  elsif length(task.queue) not between 1 and 200 then
    broken := 'task_queue_check'; wrong := 'queue must be a name of 1 to 200 characters'; tip := 'Leave it out for the queue of the kind';
  elsif length(task.key) not between 1 and 500 then
    broken := 'task_key_check'; wrong := 'key must be 1 to 500 characters'; tip := 'Leave it out for a task without a key';
  elsif task.attempt < 0 then
    broken := 'task_attempt_check'; wrong := format('attempt must be a number from 0, not %s', task.attempt); tip := '0 gives it all its attempts anew';
  elsif task.lost < 0 then
    broken := 'task_lost_check'; wrong := format('lost must be a number from 0, not %s', task.lost); tip := '0 is for one that lost no worker';
  else
    return true;
  end if;
  raise check_violation using schema = 'howdah', table = 'task', constraint = broken, message = wrong, hint = tip;
end
$$;
comment on function howdah.examine_task(howdah.task) is 'Whether a task can be one; else error 23514 says what is wrong, with the name of the rule as its constraint.';
