create or replace function howdah.check_open(queue text) returns void
language plpgsql
set jit = off set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  closed howdah.queue;
begin
  select * into closed from howdah.queue q where q.name = check_open.queue and q.draining_at is not null;
  if found then
    raise exception using errcode = 'HW010',
      message = format('queue %s takes no more tasks: it is drained since %s by %s%s', closed.name, closed.draining_at, closed.draining_by, coalesce(': ' || closed.draining_reason, '')),
      hint = format('Enqueue into another queue, or open it again: howdah resume %s', closed.name);
  end if;
end
$$;
comment on function howdah.check_open(text) is 'Error HW010 for a queue that is drained, and takes no more tasks.';
