create or replace function howdah.limit_queue(queue text, max_running int) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  if coalesce(length(limit_queue.queue), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'queue must be a name of 1 to 200 characters',
      hint = 'SELECT name FROM howdah.queues lists those in use';
  elsif limit_queue.max_running < 1 then
    raise exception using errcode = 'HW002', message = format('max_running must be at least 1, not %s', limit_queue.max_running),
      hint = format('To let nothing run: howdah pause %s; NULL takes the limit away', limit_queue.queue);
  end if;
  insert into howdah.queue as q (name, max_running) values (limit_queue.queue, limit_queue.max_running)
  on conflict (name) do update set max_running = excluded.max_running where q.max_running is distinct from excluded.max_running;
  perform howdah.wake(limit_queue.queue);
end
$$;
comment on function howdah.limit_queue(text, int) is 'Let at most so many tasks of a queue run at once, in the whole fleet; NULL: no limit. What runs goes on.';
