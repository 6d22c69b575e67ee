-- Due or not: one probe of the index, however many are scheduled for later.
create or replace function howdah.has_queued(queue text) returns boolean
language plpgsql
set jit = off set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return exists (select from howdah.task t where t.status = 'queued' and t.groups is null and t.queue = has_queued.queue)
      or exists (select from howdah.task t where t.status = 'queued' and t.groups is not null and t.queue = has_queued.queue);
end
$$;
comment on function howdah.has_queued(text) is 'Whether anything waits in a queue.';
