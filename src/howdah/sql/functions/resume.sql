create or replace function howdah.resume(queue text) returns boolean
language plpgsql
as $$
#variable_conflict use_column
begin
  update howdah.queue q
     set paused = false, paused_at = null, paused_by = null, reason = null, draining_at = null, draining_by = null, draining_reason = null
   where q.name = resume.queue and (q.paused or q.draining_at is not null);
  if found then
    perform howdah.wake(resume.queue);
  end if;
  return found;
end
$$;
comment on function howdah.resume(text) is 'Undo pause and drain. False if the queue was neither.';
