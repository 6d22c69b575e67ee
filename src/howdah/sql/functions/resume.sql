create or replace function howdah.resume(queue text) returns boolean
language plpgsql
as $$
#variable_conflict use_column
begin
  update howdah.queue q set paused = false, paused_at = null, paused_by = null, reason = null where q.name = resume.queue and q.paused;
  if found then
    perform howdah.wake(resume.queue);
  end if;
  return found;
end
$$;
comment on function howdah.resume(text) is 'Undo pause. False if the queue was not paused.';
