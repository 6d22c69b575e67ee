-- Due or not: one probe of the index, however many are scheduled for later.
create or replace function howdah.has_queued(queue text) returns boolean
language plpgsql
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return exists (select from howdah.task t where t.status = 'queued' and t.queue = has_queued.queue);
end
$$;
comment on function howdah.has_queued(text) is 'Whether anything waits in a queue.';
