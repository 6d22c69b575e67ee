create or replace function howdah.edit(
  id       bigint,
  payload  jsonb default null,
  step     text default null,
  queue    text default null,
  priority int default null,
  delay    interval default null,
  run_at   timestamptz default null
) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  live    howdah.task;
  changed howdah.task;
  due     timestamptz;
begin
  if num_nonnulls(edit.payload, edit.step, edit.queue, edit.priority, edit.delay, edit.run_at) = 0 then
    raise exception using errcode = 'HW002', message = 'nothing to change was given',
      hint = 'Give payload, step, queue, priority, delay or run_at';
  end if;
  due := howdah.check_edit(edit.queue, edit.delay, edit.run_at);
  live := howdah.known_task(edit.id);
  if due is not null then
    perform howdah.check_due(live);
  end if;
  changed := live;
  changed.priority := coalesce(edit.priority, live.priority);
  changed.queue := coalesce(edit.queue, live.queue);
  changed.run_at := coalesce(due, live.run_at);
  if num_nonnulls(edit.payload, edit.step) > 0 then
    changed := howdah.moved(live, changed, coalesce(edit.payload, live.payload), coalesce(edit.step, live.step), edit.queue, edit.priority);
  end if;
  update howdah.task t
     set payload = changed.payload, step = changed.step, step_no = changed.step_no, queue = changed.queue, priority = changed.priority, run_at = changed.run_at,
         groups = changed.groups, cost = changed.cost, attempt = changed.attempt, lost = changed.lost
   where t.id = edit.id;
  perform howdah.remember_edit(live, changed);
  if changed.status = 'queued' then
    perform howdah.wake(changed.queue);
  end if;
end
$$;
comment on function howdah.edit(bigint, jsonb, text, text, int, interval, timestamptz) is
  'Change what is given of a task that does not run, and keep its status; what was there before is in its history. The names of the fields of a payload are checked. A new step brings its queue, priority, groups and cost to a task that had those of the old one; a new payload makes its groups anew, and leaves its key. Errors: HW002 an option, unknown step, HW003 payload, HW004 no such task, HW005 running, already ended, or without a time to be due, HW010 the queue takes no more tasks.';
