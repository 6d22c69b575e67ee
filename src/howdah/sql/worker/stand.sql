-- Each worker at its start: two at once make one, and a queue that the code has changed is heeded whatever the task is doing.
create or replace function howdah.stand(kind text, queue text, priority int, key text) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  -- No new work, but what brings it: it may stand in a queue that is drained.
  perform set_config('howdah.accepted', 'on', true);
  insert into howdah.task as t (kind, queue, priority, run_at, key)
  values (stand.kind, stand.queue, stand.priority, howdah.now(), stand.key)
  on conflict (key) where key is not null do update
     set queue = excluded.queue, priority = excluded.priority
   where t.kind = excluded.kind and (t.queue, t.priority) is distinct from (excluded.queue, excluded.priority);
  perform set_config('howdah.accepted', '', true);
  perform howdah.wake(stand.queue);
end
$$;
comment on function howdah.stand(text, text, int, text) is
  'Have the one task of a kind whose tasks never end, under its key; if it is there, in this queue.';
